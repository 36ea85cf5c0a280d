"""The process that is killed: `python -m tests.faults.child STORE` imports everything once, and forks for each run.

Before that, it does each operation on a copy of the store, so that a fork begins with filled caches. It holds no lock
and no thread itself.

It reads lines `OPERATION<tab>STORE<tab>retry|once` and prints, for each: `ready {threads}`; after a line on its input,
what became of the operation, `done` or `failed CODE: TEXT`; and `ended STATUS`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app import ConversationStore, Settings
from app.errors import StoreError
from tests.faults.operations import OPERATIONS, UPGRADE, make_old, settle_clock, upgrade

MAIN = "MainThread"
"""The name of the main thread; after a fork, Python still knows it by its old number."""

_TRIES = 5
_PAUSE_S = 0.05
_HANGS_S = 120
"""A run that takes longer is ended by SIGALRM, which its status tells."""


def say(text: str) -> None:
    """Print a line at once."""
    os.write(1, f"{text}\n".encode())


def hear() -> str:
    """Read a line without reading ahead, since a fork shares the input; EOFError when there is none."""
    line = b""
    while (char := os.read(0, 1)) != b"\n":
        if not char:
            raise EOFError
        line += char
    return line.decode()


async def run(operation: str, root: Path, *, retry: bool) -> None:
    """Do one operation between a barrier and an acknowledgement, and close the store."""
    async with _open(operation, root) as store:
        wait_at_barrier()
        for left in reversed(range(_TRIES if retry else 1)):
            try:
                await OPERATIONS[operation](store)
            except StoreError as error:
                tell_failure(error, left)
            else:
                say("done")
                break


@asynccontextmanager
async def _open(operation: str, root: Path) -> AsyncIterator[ConversationStore]:
    """Open a store, ready for an operation; with one thread for files, so that each run has the same calls."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "files"))
    async with ConversationStore.open(Settings(store=root)) as store:
        if operation != "sync":
            await store.sync()
        await store.index.write(lambda _: None)
        yield store


def warm_up(fresh: Path) -> None:
    """Do each operation on a copy of a store, and wait until the threads that it started have ended."""
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory(dir=fresh.parent) as directory:
            root = Path(shutil.copytree(fresh, Path(directory, "store")))
            asyncio.run(_do(operation, root))
            make_old(root)
            upgrade(root)
    gc.collect()
    while threading.active_count() > 1:
        time.sleep(_PAUSE_S)
    gc.freeze()  # a fork shares these objects as long as it does not look at them


async def _do(operation: str, root: Path) -> None:
    async with _open(operation, root) as store:
        await OPERATIONS[operation](store)


def run_alone(root: Path, *, retry: bool) -> None:
    """Do the operation that has the store to itself."""
    make_old(root)
    wait_at_barrier()
    for left in reversed(range(_TRIES if retry else 1)):
        try:
            upgrade(root)
        except StoreError as error:
            tell_failure(error, left)
        else:
            say("done")
            break


def wait_at_barrier() -> None:
    """Say which threads there are, and wait for a line."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    threads = {str(os.getpid()): MAIN} | {str(thread.native_id): thread.name for thread in others}
    say(f"ready {json.dumps(threads)}")
    hear()


def tell_failure(error: StoreError, left: int) -> None:
    """Say what an attempt failed with, and rest before the next."""
    say(f"failed {error.code}: {error}")
    if left:
        time.sleep(_PAUSE_S)


def main() -> None:
    """Fork for each line until there is none."""
    settle_clock()
    warm_up(Path(sys.argv[1]))
    while True:
        line = hear()
        if "\t" not in line:
            continue  # meant for a fork that was killed before it heard it
        operation, root, mode = line.split("\t")
        pid = os.fork()
        if not pid:
            signal.alarm(_HANGS_S)
            try:
                if operation == UPGRADE:
                    run_alone(Path(root), retry=mode == "retry")
                else:
                    asyncio.run(run(operation, Path(root), retry=mode == "retry"))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
                say(f"crashed {''.join(traceback.format_exception(error))}".replace("\n", " | "))
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(f"ended {status}")


if __name__ == "__main__":
    with suppress(EOFError):
        main()
