"""Search hits, and the JSON that the API and the command print for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .filters import LookIn
from .ids import ConversationId, dashed
from .times import format_us


class Hit(NamedTuple):
    """A message that matches. For a match in the title, `event_id` and `seq` are None.

    `preview` is the beginning of the first text of a user in the conversation. `parent` is the conversation to which a
    sub-agent's belongs, or another parent.
    `snippet` is HTML: matches are inside <mark> and </mark>, all other text is escaped.
    """

    conversation_id: ConversationId
    title: str | None
    preview: str | None
    parent: ConversationId | None
    event_id: str | None
    seq: int | None
    source: str
    time_us: int | None
    score: float
    snippet: str

    def as_short_json(self) -> dict[str, Any]:
        """Return the JSON without what it says of the conversation."""
        fields = self.as_json()
        return {name: fields[name] for name in ("event_id", "seq", "source", "timestamp", "score", "snippet")}

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers."""
        fields = self._asdict()
        time_us = fields.pop("time_us")
        parent = fields.pop("parent")
        timestamp = None if time_us is None else format_us(time_us)
        return fields | {
            "conversation_id": dashed(self.conversation_id),
            "parent_conversation_id": None if parent is None else dashed(parent),
            "timestamp": timestamp,
        }


def list_searched(look_in: LookIn, *, titles: bool, outputs: bool) -> tuple[str, ...]:
    """Return the names of the texts that a search looks through, of `titles`, `said`, `tools` and `tool_outputs`.

    `titles` and `outputs` say whether the search and the index include them. `tools` are commands, paths and errors;
    `tool_outputs` stands for all input and output of tools.
    """
    said = look_in is not LookIn.TOOLS
    tools = look_in is not LookIn.SAID
    present = {"titles": said and titles, "said": said, "tools": tools, "tool_outputs": tools and outputs}
    return tuple(name for name, is_searched in present.items() if is_searched)


_SEARCHED_WORDS = {
    "titles": "titles",
    "said": "what was said",
    "tools": "commands, paths and errors of tools",
    "tool_outputs": "input and output of tools",
}


def describe_searched(searched: Sequence[str]) -> tuple[str, str]:
    """Return the texts that were searched in words, and those that were not, but for titles."""
    some = [words for name, words in _SEARCHED_WORDS.items() if name in searched]
    others = [words for name, words in _SEARCHED_WORDS.items() if name not in searched and name != "titles"]
    return ", ".join(some), ", ".join(others)


class HitPage(NamedTuple):
    """A page of hits, best first, and the token of the next page. `truncated` means that not all matches were ranked.

    `indexed` is the number of conversations whose text is in the index, `conversations` the number of all; a sync is
    adding the others. `total` is the number of hits on all pages, known only for hits in the order of a log.
    `searched` names the texts that were searched, as `list_searched` returns them.
    """

    items: list[Hit]
    next_page_id: str | None
    truncated: bool
    indexed: int
    conversations: int
    total: int | None = None
    searched: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers."""
        return {
            "items": [hit.as_json() for hit in self.items],
            "next_page_id": self.next_page_id,
            "truncated": self.truncated,
            "searched": list(self.searched),
            "text_indexed": {"conversations": self.indexed, "total": self.conversations},
        } | ({} if self.total is None else {"total": self.total})


Keep = Callable[[HitPage], int]
"""Returns the number of hits of a page that its reader keeps. The next page begins after them."""
