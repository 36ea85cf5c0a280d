"""One host of several: `python -m tests.faults.host SERVE-ARGUMENTS` is `convstore serve` with other times of hosts.

HOST_TIMES has the seconds between heartbeats, until a silent host stops writing, and until it counts as dead.
"""

from __future__ import annotations

import os

from app.cli.entry import run
from app.index.postgres import own_host


def _set_times() -> None:
    given = os.environ.get("HOST_TIMES")
    if given:
        own_host.TIMES = own_host.Times(*map(float, given.split(",")))


if __name__ == "__main__":
    _set_times()
    run()
