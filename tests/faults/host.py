"""One host of several: `python -m tests.faults.host SERVE-ARGUMENTS` is `convstore serve` with other times.

HOST_TIMES has the seconds between heartbeats, until a silent host stops writing, and until it counts as dead. Followers
poll so rarely that only messages wake them. To the file HOST_CLAIMS it appends a line for each claim of a conversation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from app.cli.entry import run
from app.files import lease
from app.index.postgres import own_host, write_connection
from app.store.read import followers

_NEVER_S = 600


def _set_times() -> None:
    given = os.environ.get("HOST_TIMES")
    if given:
        own_host.TIMES = own_host.Times(*map(float, given.split(",")))
        write_connection._SILENT_S = own_host.TIMES.dead_s / 2
    followers._EVERY_S = followers._POLL_S = _NEVER_S


def _tell_claims() -> None:
    descriptor = os.open(os.environ["HOST_CLAIMS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    claim = lease.claim

    def told(root: Path, directory: str, instance: str, **how: Any) -> lease.ClaimedLease:
        claimed = claim(root, directory, instance, **how)
        line = {"conversation": directory, "generation": claimed.lease.generation, "owner": instance}
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        return claimed

    lease.claim = told


if __name__ == "__main__":
    _set_times()
    _tell_claims()
    run()
