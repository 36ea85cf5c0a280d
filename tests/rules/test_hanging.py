"""No test can hang the run: each has a limit, and a process that is beyond that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.builders import second_process

_FAILS = """
    import asyncio
    from tests.builders import second_process

    def test_line_of_another_process():
        with second_process("import time; time.sleep(60)") as other:
            other._process.stdout.readline()

    def test_coroutine():
        asyncio.run(asyncio.sleep(60))
    """
_HANGS_AFTER_IT_FAILED = """
    import time, pytest

    @pytest.fixture
    def hanging():
        yield
        time.sleep(60)

    def test_it(hanging):
        assert False
    """
_LEAVES_A_THREAD = """
    import threading, time

    def test_it():
        threading.Thread(target=time.sleep, args=(60,)).start()
    """


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        pytest.param(_FAILS, ["coroutine - Failed: Timeout", "process - Failed: Timeout", "2 failed"], id="a test"),
        pytest.param(
            _HANGS_AFTER_IT_FAILED, ["Timeout (0:00:02)!", "in hanging"], id="after it failed", marks=pytest.mark.long
        ),
        pytest.param(
            _LEAVES_A_THREAD, ["1 passed", "Timeout (0:00:02)!", "in _shutdown"], id="a thread", marks=pytest.mark.long
        ),
    ],
)
def test_what_hangs_is_ended_and_shown(tmp_path: Path, code: str, shown: list[str]) -> None:
    (tmp_path / "pytest.toml").touch()
    (tmp_path / "test_it.py").write_text(dedent(code))
    plugins = ("-p", "pytest_timeout", "-p", "tests.watchdog", "--timeout=1")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-c", tmp_path / "pytest.toml", *plugins, tmp_path],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert (ran.returncode, [text for text in shown if text not in said]) == (1, []), said


def test_another_process_that_says_nothing_is_named() -> None:
    with second_process("import time; time.sleep(60)") as other, pytest.raises(TimeoutError, match="sleep"):
        other.hear(within_s=0.5)
