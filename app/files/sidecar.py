"""What convstore alone says of a conversation, in convstore.json: whether it is archived, or pinned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from app.errors import UnreadableFile
from app.files import durable, layout, lease
from app.model.json_splice import RawObject, parse_raw_object


def set_flags(root: Path, directory: str, instance: str, fields: Mapping[str, bool], *, force: bool = False) -> None:
    """Set fields of convstore.json of a conversation that is not opened, and whose other files need not be readable.

    Raises:
        ConversationNotFound: there is none.
        ConversationOwned: another owner lives; `force` takes it over.
        LockTimeout: another program is writing to it all the time.
        DiskFull, WriteFailed: it could not be written.
    """
    claimed = lease.claim(root, directory, instance, force=force)
    with lease.open_to_write(root, directory) as fd, lease.hold_lease(root, directory, fd, claimed.lease):
        try:
            write_sidecar(fd, fields)
        finally:
            lease.undo_claim_locked(root, fd, claimed)


def write_sidecar(fd: int, fields: Mapping[str, object]) -> tuple[bytes, os.stat_result]:
    """Set fields in an open directory's convstore.json; return its content and status. The caller owns it.

    The file is made when it is missing or cannot be read: no other program has it.
    """
    before = find_json_object(fd, layout.SIDECAR) or parse_raw_object(b"{}")
    kept = before.with_values({name: orjson.dumps(value) for name, value in fields.items()})
    return kept.raw, durable.replace(fd, layout.SIDECAR, kept.raw)


def find_json_object(fd: int, name: str) -> RawObject | None:
    """Return a file of an open directory as it is kept; None where there is none that can be read."""
    try:
        return parse_raw_object(layout.read_file(name, fd)[0])
    except (FileNotFoundError, UnreadableFile):
        return None
