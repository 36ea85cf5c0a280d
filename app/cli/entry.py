"""The entry point of the `convstore` command. It is small so that Ctrl-C works while the rest is imported."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FAILED = 2


def run() -> None:
    """Run the command, as `app.cli.main.run` does."""
    try:
        _open_closed_streams()
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # to find some, it opens files of every distribution
        with without_collector():
            from .main import run as run_command  # noqa: PLC0415 - it takes most of a second

        run_command()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from ..errors import OutOfMemory, is_out_of_memory  # noqa: PLC0415 - only here

        if not is_out_of_memory(error):
            raise
        sys.stderr.write(f"convstore: {OutOfMemory(error)}\n")
        sys.stderr.flush()
        os._exit(_FAILED)  # ending in order needs memory, too


def _open_closed_streams() -> None:
    """Connect streams that the caller closed (`>&-`) to /dev/null. Otherwise the next opened file gets their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


@contextmanager
def without_collector() -> Iterator[None]:
    """Import modules without looking for garbage, and leave their objects out of all later looks.

    Most of them stay. To look at them while they are imported takes a fifth of the time, and once more 80 ms later.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
