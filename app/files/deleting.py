"""Deleting a conversation without opening it: owned, given back, and moved into the trash, under both locks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from app.files import layout, lease, releasing, trash
from app.files.layout import LOG_LOCK, LOG_LOCK_TIMEOUT_S
from app.files.trash import Trashed
from app.locks import hold_lock


def delete(root: Path, directory: str, instance: str, now_us: int, *, force: bool = False) -> Trashed:
    """Move a conversation into the trash, durably. Nobody's write is cut in two, and a stale owner's is refused.

    Raises:
        ConversationOwned: another owner lives; `force` deletes all the same.
        ConversationNotFound: there is none.
        LockTimeout: another program is writing to it all the time.
        DiskFull, WriteFailed: it could not be moved; it stands as it was.
    """
    claimed = lease.claim(root, directory, instance, force=force)
    with lease.opened(root, directory) as fd, ExitStack() as locks:
        try:
            events_fd = locks.enter_context(layout.open_directory(layout.EVENTS, fd))
        except OSError:
            pass  # no events/, and so no log that somebody appends to
        else:
            locks.enter_context(hold_lock(LOG_LOCK, LOG_LOCK_TIMEOUT_S, dir_fd=events_fd))
        locks.enter_context(lease.guarded(root, directory, fd, claimed.lease))
        releasing.write_undone(root, fd, claimed)
        return trash.move_to_trash(root, directory, now_us)
