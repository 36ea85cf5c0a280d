"""Hits of a search through messages, and their JSON, which the API and the command both return."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.model.ids import ConversationId, dashed
from app.model.times import format_us


class Hit(NamedTuple):
    """A message that matches. `event_id` and `seq` are None if it is the conversation's title.

    `snippet` is HTML: matches stand between <mark> and </mark>, all else is escaped.
    """

    conversation_id: ConversationId
    title: str | None
    event_id: str | None
    seq: int | None
    source: str
    time_us: int | None
    score: float
    snippet: str

    def as_json(self) -> dict[str, Any]:
        """Return it as the API gives it."""
        fields = self._asdict()
        time_us = fields.pop("time_us")
        timestamp = None if time_us is None else format_us(time_us)
        return fields | {"conversation_id": dashed(self.conversation_id), "timestamp": timestamp}


class HitPage(NamedTuple):
    """Some hits, the best first, and the token of the next page. `truncated`: not all matches were ranked.

    The text of `indexed` of the `conversations` is in the index; a sync is reading that of the others.
    """

    items: list[Hit]
    next_page_id: str | None
    truncated: bool
    indexed: int
    conversations: int

    def as_json(self) -> dict[str, Any]:
        """Return it as the API gives it."""
        return {
            "items": [hit.as_json() for hit in self.items],
            "next_page_id": self.next_page_id,
            "truncated": self.truncated,
            "text_indexed": {"conversations": self.indexed, "total": self.conversations},
        }
