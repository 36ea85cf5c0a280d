"""Hits of a search, as they are answered."""

from __future__ import annotations

from app.model.filters import LookIn
from app.model.hits import Hit, HitPage, describe_searched, list_searched
from app.model.ids import ConversationId, dashed
from tests.builders import make_id

ONE = ConversationId(make_id(1))


def test_a_page_of_hits_is_answered_with_what_is_indexed() -> None:
    message = Hit(ONE, "A title", "Fix it", ONE, "an-event", 3, "user", 1_000_000, 1.5, "<mark>a</mark>")
    title = Hit(ONE, None, None, None, None, None, "title", None, 1.0, "a")
    answer = HitPage(
        [message, title], "next", truncated=True, indexed=1, conversations=2, searched=("titles", "said")
    ).as_json()
    assert answer == {
        "items": [
            {
                "conversation_id": dashed(ONE),
                "title": "A title",
                "preview": "Fix it",
                "parent_conversation_id": dashed(ONE),
                "event_id": "an-event",
                "seq": 3,
                "source": "user",
                "score": 1.5,
                "snippet": "<mark>a</mark>",
                "timestamp": "1970-01-01T00:00:01Z",
            },
            {
                "conversation_id": dashed(ONE),
                "title": None,
                "preview": None,
                "parent_conversation_id": None,
                "event_id": None,
                "seq": None,
                "source": "title",
                "score": 1.0,
                "snippet": "a",
                "timestamp": None,
            },
        ],
        "next_page_id": "next",
        "truncated": True,
        "searched": ["titles", "said"],
        "text_indexed": {"conversations": 1, "total": 2},
    }


def test_a_search_names_the_texts_that_it_looks_through_and_the_others() -> None:
    said = list_searched(LookIn.SAID, titles=True, outputs=True)
    tools = list_searched(LookIn.TOOLS, titles=True, outputs=False)
    everything = list_searched(LookIn.ALL, titles=False, outputs=True)
    assert said == ("titles", "said")
    assert tools == ("tools",)
    assert everything == ("said", "tools", "tool_outputs")
    assert describe_searched(tools) == (
        "commands, paths and errors of tools",
        "what was said, input and output of tools",
    )
    assert describe_searched(everything)[1] == ""
