"""Choosing the database of an index by the settings."""

from __future__ import annotations

from ..settings import Settings
from .engine import Index, Note, ignore_note
from .sqlite import database


def make_index(settings: Settings, *, readers: int, note: Note = ignore_note) -> Index:
    """Return the index of a store, which is not open yet. `note` is called with durations of work.

    Raises:
        InvalidSettings: CONVSTORE_INDEX_URL is not valid.
    """
    return database.Index(settings.index_path, readers=readers, busy_timeout_s=settings.busy_timeout_s, note=note)
