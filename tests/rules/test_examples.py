"""The README's Python examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_writing_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    [code] = re.findall(r"<!-- tested: .*? -->\n```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "workspace" / "conversations").mkdir(parents=True)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("0 1\n", "")
