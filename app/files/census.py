"""The entries of a conversations directory that are not conversations: V0 history, links, duplicates, others."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path

from ..model.ids import find_conversation_id
from . import layout
from .layout import Kind

_V0_FILES = ("metadata.json", "agent_state.pkl", f"{layout.EVENTS}/0.json")
"""Files of a V0 session. Source: OpenHands before 1.0, openhands/storage/locations.py."""

_SHOWN = 3
_NESTED = ("conversations", "workspace/conversations", "agent-canvas/conversations")
"""The subdirectories in which OpenHands keeps conversations. A user may give the directory above by mistake."""


class Foreign(StrEnum):
    """A kind of entry that no list shows. Names that begin with a dot are ignored.

    V0: a directory with conversations of OpenHands before version 1. LINK: a symbolic link. TWIN: a second directory
    for an id. LOCKS: a directory that is named like an id and is empty, or has only lock and lease files. OTHER: any
    other file or directory.
    """

    V0 = "v0"
    LINK = "link"
    TWIN = "twin"
    LOCKS = "locks"
    OTHER = "other"


Census = dict[Foreign, list[str]]
"""The sorted names of the entries of each kind."""

_TEXTS = {
    Foreign.V0: ("directory has history of OpenHands V0", "directories have history of OpenHands V0"),
    Foreign.LINK: ("symbolic link is not followed", "symbolic links are not followed"),
    Foreign.TWIN: ("directory has the id of another directory", "directories have the ids of other directories"),
    Foreign.LOCKS: ("directory is empty or has only lock files", "directories are empty or have only lock files"),
    Foreign.OTHER: ("other entry is not a conversation", "other entries are not conversations"),
}


def take_census(root: Path, empty: Collection[str] | None = None) -> Census:
    """Return the entries in `root` that are not conversations.

    `empty` are the directories named like an id that are known not to be conversations. If it is None, each directory
    is opened.

    Raises:
        StoreUnavailable: `root` cannot be read.
    """
    directories, twins = layout.list_directories(root)
    census: Census = {kind: [] for kind in Foreign}
    census[Foreign.TWIN] = twins
    for name in directories if empty is None else empty:
        kind = layout.find_kind(root, name)
        if kind is Kind.GHOST:
            census[Foreign.LOCKS].append(name)
        elif kind is Kind.OTHER:
            census[_classify(root / name)].append(name)
    seen = {*directories, *twins}
    try:
        others = [path for path in root.iterdir() if not path.name.startswith(".") and path.name not in seen]
    except OSError as error:
        raise layout.store_unavailable(root, error) from error
    for path in others:
        census[_classify(path)].append(path.name)
    return {kind: sorted(names) for kind, names in census.items()}


def _classify(path: Path) -> Foreign:
    if path.is_symlink():
        return Foreign.LINK
    return Foreign.V0 if any(os.path.lexists(path / name) for name in _V0_FILES) else Foreign.OTHER


def describe(census: Mapping[Foreign, Collection[str]]) -> dict[Foreign, str]:
    """Return a sentence for each kind that was found, with the number of entries and the first names."""
    return {kind: f"{_count(kind, len(names))}: {_shorten(sorted(names))}" for kind, names in census.items() if names}


def _count(kind: Foreign, number: int) -> str:
    return f"{number:,} {_TEXTS[kind][number != 1]}"


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def has_conversation(root: Path) -> bool:
    """Whether `root` has a conversation, readable or not. Opens directories until it finds one."""
    try:
        with os.scandir(root) as entries:
            return any(
                find_conversation_id(entry.name)
                and entry.is_dir(follow_symlinks=False)
                and layout.find_kind(root, entry.name) is Kind.CONVERSATION
                for entry in entries
            )
    except OSError:
        return False


def is_conversation(root: Path) -> bool:
    """Whether a directory is one conversation itself, and not a directory with conversations."""
    try:
        with layout.open_directory(root) as fd:
            return layout.holds_conversation(fd) and not has_conversation(root)
    except OSError:
        return False


def find_nested(root: Path) -> Path | None:
    """Return the directory below `root` in which OpenHands keeps its conversations, or None if there is none."""
    return next((root / name for name in _NESTED if has_conversation(root / name)), None)
