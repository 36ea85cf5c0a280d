"""Filters: what a tag is, which text is blank, and what narrows a list."""

from __future__ import annotations

import pytest

from app.model.filters import Archived, ConversationFilter, EventFilter, Status, digest, is_blank, parse_tag
from app.model.ids import ConversationId


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("area", [("area", None)]),
        ("area:auth", [("area", "auth"), ("area:auth", None)]),
        ("a=b:c", [("a", "b:c"), ("a=b", "c"), ("a=b:c", None)]),
        ("a:", [("a", ""), ("a:", None)]),
    ],
)
def test_a_tag_is_asked_for_by_key_or_by_key_and_value(text: str, pairs: list[tuple[str, str | None]]) -> None:
    tag = parse_tag(text)
    assert list(tag.pairs) == pairs
    assert all(tag.is_one_of({key: "any" if value is None else value}) for key, value in pairs)
    assert not tag.is_one_of({"a": "other", "b": "c"})


@pytest.mark.parametrize(("text", "blank"), [(None, False), ("", True), (" \t", True), ("a", False), ("\u0301", True)])
def test_a_text_without_anything_to_find_is_blank(text: str | None, *, blank: bool) -> None:
    assert is_blank(text) is blank


@pytest.mark.parametrize(
    ("asked", "narrows"),
    [
        (ConversationFilter(), False),
        (ConversationFilter(q=" ", title_contains=""), False),
        (ConversationFilter(archived=None), False),
        (ConversationFilter(archived=True), True),
        (ConversationFilter(statuses=(Status.IDLE,)), True),
        (ConversationFilter(event_count_gte=0), True),
    ],
)
def test_a_filter_narrows_when_it_can_leave_one_out(asked: ConversationFilter, *, narrows: bool) -> None:
    assert asked.narrows is narrows


def test_users_ask_for_the_archive_in_three_ways() -> None:
    assert [one.asked for one in Archived] == [False, True, None]


def test_a_digest_is_that_of_order_filter_and_scope() -> None:
    asked = [("A", ConversationFilter(), ""), ("B", ConversationFilter(), ""), ("A", EventFilter(), "")]
    digests = [digest(*one) for one in (*asked, ("A", ConversationFilter(q="x"), ""), ("A", ConversationFilter(), "s"))]
    assert len(set(digests)) == 5
    assert digest("A", ConversationFilter()) == digests[0]


@pytest.mark.parametrize(
    ("asked", "shelves"),
    [
        (ConversationFilter(), (0,)),
        (ConversationFilter(archived=None), (0, 1)),
        (ConversationFilter(subagents=True), (2,)),
        (ConversationFilter(subagents=None), (0, 2)),
        (ConversationFilter(archived=True, subagents=True), (3,)),
        (ConversationFilter(archived=None, subagents=None), (0, 1, 2, 3)),
        (ConversationFilter(parent=ConversationId("0" * 32)), (0, 2)),
    ],
)
def test_archived_conversations_and_those_of_sub_agents_are_asked_for(
    asked: ConversationFilter, shelves: tuple[int, ...]
) -> None:
    assert asked.shelves == shelves
