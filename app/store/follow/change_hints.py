"""Hints of the operating system that something changed in a conversation's directory.

The watcher checks a conversation with a hint earlier.

A hint may be missing: if too many directories exist to watch all, if a directory was moved away and back, or if very
many changes happen at once. So the watcher also checks every conversation regularly (`app.store.follow.watcher`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...files.layout import EVENTS
from ...model.ids import ConversationId, find_conversation_id

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

log = logging.getLogger(__name__)

_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
_SHARE = 2
"""Half of the watches that a user may have are left for other programs."""
_EACH = 2
"""The watches per conversation: its directory and its events/."""


def find_room() -> int:
    """Return how many conversations may be watched, or 0 if the operating system states no limit."""
    try:
        return int(_LIMIT.read_text()) // _SHARE // _EACH
    except (OSError, ValueError):
        return 0


class ChangeHints:
    """The directories that are watched, with one inotify instance. Holds about 1 kB for each conversation.

    Measured: starting to watch 20,000 directories took 0.3 s and 10 MB. A change was reported after 40 ms.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._notify: RustNotify | None = None
        self.watched = 0
        """The number of watched conversations."""

    def watch(self, directories: Sequence[str]) -> None:
        """Watch these conversations instead of the former ones. Both overlap, so that no change is missed.

        If the operating system refuses, only the first half is watched, or half of that, and so on.
        """
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415 - only the leader of the processes needs it

        while directories:
            paths = [path for name in directories for path in (f"{self._root}/{name}", f"{self._root}/{name}/{EVENTS}")]
            try:
                fresh = RustNotify(paths, False, False, 0, False, True)
            except (OSError, RuntimeError) as error:
                log.warning("%d conversations cannot be watched; trying half of them: %s", len(directories), error)
                directories = directories[: len(directories) // 2]
                continue
            before, self._notify = self._notify, fresh
            self.watched = len(directories)
            if before is not None:
                before.close()
            return

    def take(self) -> list[ConversationId]:
        """Return the conversations that changed since the last call. Waits up to a millisecond for one."""
        if self._notify is None:
            return []
        found = self._notify.watch(1, 1, 1, None)
        return [] if isinstance(found, str) else list(dict.fromkeys(_ids_in(path for _, path in found)))

    def close(self) -> None:
        """Stop watching."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None


def _ids_in(paths: Iterable[str]) -> Iterable[ConversationId]:
    """Yield the conversation in which each path lies, the innermost one."""
    for path in paths:
        found = next(filter(None, map(find_conversation_id, reversed(path.split("/")))), None)
        if found is not None:
            yield found
