"""StoreContext: the index of an open store, and the reader of its files."""

from __future__ import annotations

import time
from pathlib import Path
from zoneinfo import ZoneInfo

from ..errors import StoreUnavailable
from ..files import census, layout, trash
from ..files.metadata_reader import Reader
from ..index.engine import Index
from ..settings import Settings
from .presence import Presence
from .read.large_events import LargeEvents


class StoreContext:
    """The index of a store, and the readers of its files and large events. All use cases share one context.

    Only `read_as` changes `reader`, and only `app.store.follow.derivation` calls it.
    """

    def __init__(self, index: Index, reader: Reader, presence: Presence | None = None) -> None:
        self.index = index
        self.large_events = LargeEvents()
        self.presence = presence or Presence(reader.root, reader.root)
        self.opened_hour = int(time.time() // 3600)
        """The hour since 1970 in which the store was opened."""
        self.reader = reader
        """The conversations directory and the settings for reading its files."""

    @property
    def root(self) -> Path:
        """The conversations directory."""
        return self.reader.root

    def read_as(self, reader: Reader) -> None:
        """Replace the reader."""
        self.reader = reader


def make_reader(settings: Settings) -> Reader:
    """Return the reader for these settings."""
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    return Reader(settings.root, zone, settings.sync_processes or 0, settings.search_tools)


def require_directory(settings: Settings) -> None:
    """Check, before a store is opened, that the conversations directory exists.

    Raises:
        StoreUnavailable: the directory does not exist, or the operating system refuses access.
    """
    try:
        exists = settings.root.is_dir()
    except OSError as error:
        raise layout.store_unavailable(settings.root, error) from error
    if not exists:
        raise StoreUnavailable(
            f"{settings.shown_root} is not a directory; give the directory that contains the conversations, "
            "which is workspace/conversations for agent-server"
        )
    if census.is_conversation(settings.root):
        raise StoreUnavailable(
            f"{settings.shown_root} is one conversation; give the directory that contains it: {settings.root.parent}"
        )


def require_store(settings: Settings) -> None:
    """Check that the store exists: it has an index, a conversation, or something in the trash.

    Only commands that make a new store skip this check. So a mistyped path gets no index.

    Raises:
        StoreUnavailable: there is no store; the message says what the directory contains.
    """
    require_directory(settings)
    root = settings.root
    if settings.index_path.exists() or census.has_conversation(root) or trash.list_trash(root):
        return
    found = "; ".join(census.describe(census.take_census(root)).values()) or "it is empty"
    nested = census.find_nested(root)
    raise StoreUnavailable(
        f"{settings.shown_root} has no conversation ({found}); "
        f"give the directory that has the conversation directories{f': {nested}' if nested else ''}. "
        "`convstore serve` and `convstore import` make a new store in an empty directory"
    )


def require_files(root: Path, index: Index) -> None:
    """Check, while a store is open, that the conversations directory and the index still exist."""
    if not root.is_dir():
        raise StoreUnavailable(f"the conversations directory {root} is missing; mount or restore it")
    index.require_exists()
