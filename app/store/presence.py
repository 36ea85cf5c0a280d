"""Presence: whether the conversations directory is the one that the index describes, or its disk is not mounted.

If its disk is not mounted, a mount point is empty or missing. The index may be on another disk or still open, so its
rows would be listed although nobody can open the conversations. A serving process checks every half second. While the
directory is missing, answers from rows are refused with StoreUnavailable, nothing is written, and no row is deleted.
When the directory is back, its rows are served again.

A directory that was emptied on purpose looks the same. It counts as emptied if this process saw a conversation in the
same directory (by device and inode, which differ for a mount point without its disk) and it stays empty for a minute.
In other processes, or to skip the minute, run `convstore index sync --allow-empty`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import IndexUnusable
from ..files import layout
from ..filesystem import is_network_device
from ..index import conversation_lookup
from ..index.engine import Index

_SETTLED_AFTER_S = 1.0
"""The seconds for which an empty directory is accepted: deleting the last conversation moves it before its row goes."""

_BELIEVED_AFTER_S = 60.0


class _Identity(NamedTuple):
    """The identity of a directory, whatever its name."""

    device: int
    inode: int


class Presence:
    """What one process knows about the conversations directory of an open store."""

    def __init__(self, root: Path, written: Path) -> None:
        """`written` is the path that the user gave. It may be a symbolic link to `root`."""
        self._root = root
        self._written = written
        self._inhabited: _Identity | None = None
        """The directory in which a conversation was last seen."""
        self._empty_since: float | None = None
        self._rows_known = 0
        self.is_local = False
        """Whether the conversations are on a disk of this machine."""
        self.emptied = False
        """Whether all conversations were removed on purpose, as far as this process can tell."""

    async def refresh(self, index: Index) -> None:
        """Check the directory, and tell the index whether its rows may be served."""
        absence, is_empty = await asyncio.to_thread(self._look)
        if is_empty and not self.emptied and (known := await self._count_rows(index)):
            absence = (
                f"{self._root} contains no conversation, but the index has {known}; is a disk not mounted? They are "
                "served again when they are back. If all were removed on purpose, run "
                "`convstore index sync --allow-empty`"
            )
        index.note_absence(absence)

    def _look(self) -> tuple[str | None, bool]:
        """Return (the reason if the directory is missing, whether it has had no conversation for some time)."""
        try:
            status = self._root.stat()
            self.is_local = not is_network_device(status.st_dev)
            inhabited = layout.has_conversations(self._root)
        except OSError as error:
            return f"the conversations directory {self._root} is gone ({error.strerror}); mount or restore it", False
        leads_to = self._written.resolve()
        if leads_to != self._root:
            return (
                f"the link {self._written} now leads to {leads_to}, but this process uses {self._root}; restart it",
                False,
            )
        identity, now = _Identity(status.st_dev, status.st_ino), time.monotonic()
        if inhabited:
            self._inhabited = identity
        if inhabited or identity != self._inhabited:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        empty_s = 0.0 if self._empty_since is None else now - self._empty_since
        self.emptied = empty_s >= _BELIEVED_AFTER_S
        return None, not inhabited and (self._empty_since is None or empty_s >= _SETTLED_AFTER_S)

    async def _count_rows(self, index: Index) -> int:
        """Return the number of conversations in the index, or the last known number if the index cannot be read."""
        with suppress(IndexUnusable):
            async with index.read() as connection:
                self._rows_known = (await conversation_lookup.count_totals(connection)).conversations
        return self._rows_known
