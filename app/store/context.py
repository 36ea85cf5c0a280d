"""What every use case of an open store needs: its index, and how its files are read."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from app.errors import IndexUnusable, StoreUnavailable
from app.files import layout
from app.files.metadata_reader import Reader
from app.index.sqlite.database import Index
from app.settings import Settings


class StoreContext:
    """An index, and how the files are read that it is made of. All use cases of an open store share one.

    `reader` changes only by `read_as`: `app.store.follow.derivation` decides.
    """

    def __init__(self, index: Index, reader: Reader) -> None:
        self.index = index
        self._reader = reader

    @property
    def reader(self) -> Reader:
        """How files are read now."""
        return self._reader

    @property
    def root(self) -> Path:
        """The conversations directory."""
        return self._reader.root

    def read_as(self, reader: Reader) -> None:
        """Read files from now on as `reader` says."""
        self._reader = reader


def make_reader(settings: Settings) -> Reader:
    """Return how the settings want the files of a store to be read."""
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    return Reader(settings.root, zone, settings.sync_processes or 0, settings.search_tools)


def require_directory(settings: Settings) -> None:
    """Make sure that there is a directory of conversations.

    Raises:
        StoreUnavailable: there is none, or the disk does not say.
    """
    try:
        there = settings.root.is_dir()
    except OSError as error:
        raise layout.store_unavailable(settings.root, error) from error
    if not there:
        raise StoreUnavailable(
            f"{settings.root} is no directory; give the one that holds the conversation directories, "
            "for agent-server workspace/conversations"
        )


def require_files(root: Path, index_path: Path) -> None:
    """Make sure that the conversations directory and the index's file are there.

    Raises:
        StoreUnavailable: the directory is gone.
        IndexUnusable: the index was deleted under this process.
    """
    if not root.is_dir():
        raise StoreUnavailable(f"the conversations directory {root} is gone; mount or restore it")
    if not index_path.exists():
        raise IndexUnusable(
            f"the index {index_path} is gone; a server builds it again soon, when the conversations are there"
        )
