"""`python -m tests.faults.clock FILE serve ...`: the command, its clock off by as many seconds as FILE says."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_NS = 1_000_000_000


def main() -> None:
    """Set the clock and run the command."""
    file = Path(sys.argv.pop(1))
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + int(file.read_text()) * _NS

    time.time_ns = time_ns
    time.time = lambda: time_ns() / _NS
    from app.cli.main import run  # noqa: PLC0415 - only now, since modules keep what they import from `time`

    run()


if __name__ == "__main__":
    main()
