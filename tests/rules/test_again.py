"""CI tries a few failed tests once more; a test that fails again, or many that failed, still fail the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST

_TESTS = """
import pathlib
import pytest

@pytest.mark.parametrize("number", range({failing}))
def test_first(number):
    mark = pathlib.Path(f"mark-{{number}}")
    if not mark.exists():
        mark.touch()
        raise AssertionError("fails at first")

def test_steady():
    assert {steady}
"""


def _run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", ".", "-c", "pytest.toml", *arguments],
        cwd=where,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize(
    ("failing", "steady", "passes", "said"),
    [
        (1, True, True, "UNSTABLE: test_some.py::test_first[0] failed at first, and passed alone"),
        (1, False, False, "FAILED test_some.py::test_steady"),
        (MOST + 1, True, False, f"{MOST + 1} tests failed, more than the {MOST} that are tried once more"),
        (0, True, False, "no previously failed tests"),
    ],
)
def test_only_a_few_tests_that_pass_at_the_second_try_are_forgiven(
    tmp_path: Path, failing: int, steady: bool, passes: bool, said: str
) -> None:
    (tmp_path / "pytest.toml").touch()
    (tmp_path / "test_some.py").write_text(_TESTS.format(failing=failing, steady=steady))
    _run(tmp_path)
    again = _run(tmp_path, "-p", "tests.again", "--last-failed", "--last-failed-no-failures", "none")
    assert said in again.stdout + again.stderr
    assert (again.returncode == 0) is passes
