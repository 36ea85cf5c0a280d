"""The conversations that a server shows: all, or those of one working directory and the directories below it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model.filters import ConversationFilter
from ..model.workspace import find_below, normalize_workspace


@dataclass(frozen=True, slots=True)
class Scope:
    """The working directory to which a server is limited, or None."""

    workspace: str | None = None

    def narrow(self, asked: ConversationFilter) -> ConversationFilter | None:
        """Return the filter for the matching conversations in this scope, or None if there can be none."""
        if self.workspace is None:
            return asked
        if asked.workspace_under is None or is_below(self.workspace, asked.workspace_under):
            return replace(asked, workspace_under=self.workspace)
        return asked if is_below(asked.workspace_under, self.workspace) else None

    def admits(self, workspace: str | None) -> bool:
        """Whether a conversation with this working directory is in this scope."""
        return self.workspace is None or (workspace is not None and is_below(workspace, self.workspace))


def is_below(directory: str, above: str) -> bool:
    """Whether a directory is `above` or below it."""
    one, other = normalize_workspace(directory), normalize_workspace(above)
    below = find_below(other)
    return one == other or below.first <= one < below.end
