"""A run ends with what each suite took, and a short one with what it left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest

def test_short():
    pass

@pytest.mark.long
@pytest.mark.parametrize("number", range(3))
def test_long(number):
    pass
"""


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("tier", "table", "left"),
    [("not long", {"tests/one": "1", "tests/two": "1"}, 6), ("", {"tests/one": "4", "tests/two": "4"}, 0)],
)
def test_a_run_tells_what_each_suite_took_and_how_many_were_left(
    tmp_path: Path, processes: int, tier: str, table: dict[str, str], left: int
) -> None:
    (tmp_path / "pytest.toml").touch()
    for suite in ("one", "two"):
        (tmp_path / "tests" / suite / "inner").mkdir(parents=True)
        (tmp_path / "tests" / suite / "inner" / f"test_{suite}.py").write_text(_TESTS)
    plugins = ("-p", "xdist", "-p", "tests.suites", "-n", str(processes))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-c", tmp_path / "pytest.toml", *plugins, "-m", tier],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert dict(re.findall(r"^(tests/\w+) +(\d+) +[\d.]+$", ran.stdout, re.MULTILINE)) == table
    assert re.findall(r"LEFT TO `make check`: (\d+) long tests", ran.stdout) == ([str(left)] if left else [])
