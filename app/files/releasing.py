"""Giving a lease back: a client's, or a server's when the last of its workers closes the conversation."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from app.errors import ConversationNotFound, OwnershipLost
from app.files import durable, lease
from app.files.layout import LEASE
from app.files.lease import Claim, Lease
from app.locks import try_lock


def release(root: Path, directory: str, held: Lease) -> bool:
    """Give a lease back; return whether it is nobody's now. The file stays, so that the generation goes on.

    A server's stays its own while one of its workers has the conversation open under it.
    """
    try:
        with lease.opened(root, directory) as fd, lease.guarded(root, directory, fd, held):
            if held.boot and _is_shared(fd):
                return False
            lease.write(fd, held.given_back())
    except (OwnershipLost, ConversationNotFound):
        return False
    return True


def undo_claim(root: Path, directory: str, claimed: Claim) -> bool:
    """Give a lease back under which nothing was looked at, as `release`, and return what that does.

    Whoever comes next finds what a crash before the claim left.
    """
    with (
        suppress(OwnershipLost, ConversationNotFound),
        lease.opened(root, directory) as fd,
        lease.guarded(root, directory, fd, claimed.lease),
    ):
        if not _is_shared(fd):
            write_undone(root, fd, claimed)
            return True
    return False


def write_undone(root: Path, fd: int, claimed: Claim) -> None:
    """Give a lease back as `undo_claim` does, in an open directory and at any rate. The caller is in `guarded`."""
    before = claimed.before
    if before is None:
        durable.remove_if_there(fd, LEASE)
    elif before.released or lease.is_held(root, before):
        lease.write(fd, claimed.lease.given_back())
    else:
        lease.write(fd, before._replace(generation=claimed.lease.generation))


def _is_shared(fd: int) -> bool:
    """Whether a worker has a conversation open under the lease that stands. The caller is in `guarded`."""
    try:
        descriptor = lease.open_last(fd)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)
