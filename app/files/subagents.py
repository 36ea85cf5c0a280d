"""Conversations of sub-agents, stored at any depth below their parent: `<parent>/subagents/<id>/`.

The tools `task` and `delegate` of openhands-sdk 1.58 create them with a base_state.json and events/, but without a
meta.json. convstore uses the path below the root, `<parent>/subagents/<id>`, as the directory's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..model.ids import SUBAGENTS, find_conversation_id
from . import layout
from .layout import ConversationDir, conversation_dir

_DEPTH_MAX = 16
"""The maximum depth. Each level adds 43 characters to a path, whose length the operating system limits."""


def list_below(root: Path, directory: str) -> list[ConversationDir]:
    """Return the conversations of a conversation's sub-agents, and of their sub-agents. Follows no link."""
    found: list[ConversationDir] = []
    try:
        with (
            layout.open_directory(root / directory) as fd,
            layout.open_directory(SUBAGENTS, fd) as inner,
            os.scandir(inner) as entries,
        ):
            names = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return found
    for name in sorted(names):
        if find_conversation_id(name) is not None:
            nested = f"{directory}/{SUBAGENTS}/{name}"
            found.append(conversation_dir(nested))
            if nested.count(SUBAGENTS) < _DEPTH_MAX:
                found += list_below(root, nested)
    return found


def list_all(root: Path) -> tuple[list[str], list[str]]:
    """Return what `layout.list_directories` returns, with the conversations of sub-agents among the others.

    If several directories have one id, the conversation is the one that is not a sub-agent's, otherwise the first.

    Raises:
        StoreUnavailable: `root` cannot be read.
    """
    names, duplicates = layout.list_directories(root)
    nested = [one for name in names if os.path.lexists(f"{root}/{name}/{SUBAGENTS}") for one in list_below(root, name)]
    if nested:
        seen = {conversation_dir(name).id for name in names}
        for one in nested:
            (duplicates if one.id in seen else names).append(one.directory)
            seen.add(one.id)
        names.sort()
    return names, duplicates


def list_below_all(root: Path, directories: Iterable[str]) -> list[ConversationDir]:
    """Return the conversations of all sub-agents below these conversations."""
    return [one for directory in directories for one in list_below(root, directory)]
