"""Reading processes: small, gone with their parent, and Ctrl-C is not theirs to answer. What servers do with memory."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.store.follow.full_sync import readers
from tests.builders import make_conversation
from tests.conftest import PACKAGE


def test_ctrl_c_in_a_terminal_is_left_to_the_program_that_reads() -> None:
    with readers(1) as executor:
        process = executor.submit(os.getpid).result()
        os.kill(process, signal.SIGINT)
        assert executor.submit(os.getpid).result() == process


def test_a_reading_process_does_not_import_the_program_that_started_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pydantic, sys\n"
        "from app.store.follow.full_sync import readers\n"
        "if __name__ == '__main__':\n"
        "    with readers(1) as executor:\n"
        "        print(executor.submit(eval, 'sorted(__import__(\"sys\").modules)').result())\n"
        "    assert sys.modules['__main__'].__file__ == sys.argv[0]\n"
    )
    imported = subprocess.run((sys.executable, str(program)), check=True, capture_output=True, text=True).stdout
    assert f"'{PACKAGE}.processes'" in imported
    assert not [name for name in ("pydantic", "sqlalchemy", "asyncio") if f"'{name}'" in imported]


@pytest.mark.long
def test_reading_processes_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    for number in range(1, 1501):
        make_conversation(tmp_path, number, events=8)
    command = (sys.executable, "-m", "app.cli.main", "index", "sync", "--store", str(tmp_path))
    with subprocess.Popen(command, env=os.environ | {"CONVSTORE_SYNC_PROCESSES": "2"}) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until = time.monotonic() + 60
        while len(started := children.read_text().split()) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
    while any(Path(f"/proc/{child}/cmdline").exists() for child in started):
        assert time.monotonic() < until
        time.sleep(0.01)


_FREED = """
from pathlib import Path
from app.processes import return_large_blocks

def resident_mb():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

{call}
bytes(30 << 20)  # glibc now serves blocks of this size from its heap
blocks, small = [], []
for number in range(10):
    blocks.append(b"x" * (20 << 20))
    small.append(b"x" * 2000)
before = resident_mb()
blocks.clear()
print(before - resident_mb())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
@pytest.mark.parametrize(("call", "freed"), [("return_large_blocks()", True), ("", False)])
def test_freed_large_blocks_leave_the_process_that_asks_for_it(call: str, *, freed: bool) -> None:
    program = (sys.executable, "-c", _FREED.format(call=call))
    printed = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    assert (float(printed) > 190) is freed
