"""StoreContext: the index of an open store, and the reader of its files."""

from __future__ import annotations

import time
from pathlib import Path
from zoneinfo import ZoneInfo

from ..errors import StoreUnavailable
from ..files.metadata_reader import Reader
from ..index.engine import Index
from ..settings import Settings
from .presence import Presence
from .read.large_events import LargeEvents


class StoreContext:
    """The index of a store, and the readers of its files and large events. All use cases share one context.

    Only `read_as` changes `reader`, and only `app.store.follow.index_settings` calls it.
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


def require_files(root: Path, index: Index) -> None:
    """Check, while a store is open, that the conversations directory and the index still exist."""
    if not root.is_dir():
        raise StoreUnavailable(f"the conversations directory {root} is missing; mount or restore it")
    index.require_exists()
