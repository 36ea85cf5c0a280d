"""The entry point: interruptions while the command is imported, and streams that are closed."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import entry
from tests.builders import make_conversation
from tests.cli.conftest import COMMAND


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "closed", "code"), [("prune --older-than 1m", 0, 2), ("list --json", 1, 0), ("show ffff", 2, 2)]
)
def test_a_stream_that_is_closed_is_as_if_it_led_nowhere(root: Path, command: str, closed: int, code: int) -> None:
    make_conversation(root, meta={"updated_at": "2026-01-01T00:00:00Z"}, events=0)
    line = f"exec {COMMAND} {command} --store {root} {closed}>&-"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("Traceback")) == (code, 0)


_INTERRUPTED = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name.endswith(".cli.main"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from app.cli.entry import run
run()
"""


def test_an_interruption_while_the_command_is_imported_ends_it_quietly() -> None:
    ran = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_collected_after_the_imports_as_before(collecting: bool) -> None:
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with entry.without_collector():
            assert not gc.isenabled()
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()


_COUNTED = """
import atexit, gc
whole = []
gc.callbacks.append(lambda phase, told: whole.append(phase) if told["generation"] == 2 else None)
atexit.register(lambda: print(len(whole)))
from app.cli.entry import run
run()
"""


@pytest.mark.long
def test_a_command_does_not_look_for_garbage_in_its_own_modules(root: Path) -> None:
    make_conversation(root)
    command = [sys.executable, "-c", _COUNTED, "list", "--json", "--store", str(root)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0"


@pytest.mark.long
@pytest.mark.parametrize("kilobytes", [50_000, 100_000, 150_000, 200_000])
def test_too_little_memory_is_enough_or_told_in_a_line(root: Path, kilobytes: int) -> None:
    make_conversation(root)
    line = f"ulimit -v {kilobytes}; exec {COMMAND} search message --store {root}"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    told = ran.stderr.startswith("convstore: there is too little memory (") and ran.stderr.count("\n") == 1
    assert (ran.returncode, told) in ((0, False), (2, True)), ran.stderr
