"""convstore.json: the flags `archived` and `pinned`, which agent-server has no field for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from ..errors import UnreadableFile
from ..model.json_splice import parse_raw_object
from ..model.salvage import salvage
from . import durable, layout, lease
from .metadata_reader import find_raw_object


def set_flags(root: Path, directory: str, instance: str, fields: Mapping[str, bool], *, force: bool = False) -> None:
    """Set fields in the convstore.json of a conversation that is not open. Its other files may be unreadable.

    Raises:
        ConversationNotFound: there is no such conversation.
        ConversationOwned: another owner is alive; `force` takes over.
        LockTimeout: another program kept a lock.
        DiskFull, WriteFailed: writing failed.
    """
    claimed = lease.claim(root, directory, instance, force=force)
    with lease.open_to_write(root, directory) as fd, lease.hold_lease(root, directory, fd, claimed.lease):
        try:
            write_sidecar(fd, fields)
        finally:
            lease.undo_claim_locked(root, fd, claimed)


def _salvage(fd: int) -> dict[str, Any]:
    try:
        return salvage(layout.read_file(layout.SIDECAR, fd)[0])
    except (FileNotFoundError, UnreadableFile):
        return {}


def write_sidecar(fd: int, fields: Mapping[str, object]) -> tuple[bytes, os.stat_result]:
    """Set fields of convstore.json in an open directory, and return its content and status. The caller holds the lease.

    A missing or damaged file is replaced, because no other program writes it. Complete fields of a damaged file are
    kept.
    """
    before = find_raw_object(fd, layout.SIDECAR) or parse_raw_object(orjson.dumps(_salvage(fd)))
    kept = before.with_values({name: orjson.dumps(value) for name, value in fields.items()})
    return kept.raw, durable.replace(fd, layout.SIDECAR, kept.raw)
