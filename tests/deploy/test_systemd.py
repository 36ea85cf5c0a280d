"""The unit of the docs is one that systemd accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.deploy.recipes import recipe


def test_the_unit_is_confined(tmp_path: Path) -> None:
    unit = tmp_path / "convstore.service"
    unit.write_text(recipe("ini"))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:]


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "convstore.service"
    unit.write_text(recipe("ini").replace("/opt/convstore/bin/convstore", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
