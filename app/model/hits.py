"""Search hits, and the JSON that the API and the command print for them."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class HitPage(NamedTuple):
    """A page of hits, best first, and the token of the next page. `truncated` means that not all matches were ranked.

    `indexed` is the number of conversations whose text is in the index, `conversations` the number of all; a sync is
    adding the others. `total` is the number of hits on all pages, known only for hits in the order of a log.
    `tools_searched` means that the input and output of tools is in the index, too.
    """

    items: list[Hit]
    next_page_id: str | None
    truncated: bool
    indexed: int
    conversations: int
    total: int | None = None
    tools_searched: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers."""
        return {
            "items": [hit.as_json() for hit in self.items],
            "next_page_id": self.next_page_id,
            "truncated": self.truncated,
            "tools_searched": self.tools_searched,
            "text_indexed": {"conversations": self.indexed, "total": self.conversations},
        } | ({} if self.total is None else {"total": self.total})
