"""Retention: what is old by its last event is found, and moved into the trash unless it changed meanwhile."""

from __future__ import annotations

from pathlib import Path

from app.model.filters import ConversationFilter, Tag
from app.model.ids import ConversationId
from app.store.admin.prune import find_candidates, prune, quiet_since
from tests.builders import BEGIN, make_conversation, make_event, make_id, names_in, write_event
from tests.conftest import StoreOpener

ONE, TWO, THREE = (ConversationId(make_id(number)) for number in (1, 2, 3))
NOON_US = int(BEGIN.timestamp() * 1_000_000)
HOUR_US = 3_600_000_000


async def test_a_conversation_is_old_when_it_was_created_and_last_spoken_in_before(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2, events=[make_event(0, timestamp="2026-10-01T18:00:00")])
    make_conversation(root, 3, meta={"created_at": "2026-10-01T18:00:00Z"})
    async with open_store(root, timezone="UTC") as store:
        found = {
            hours: [one.id for one in await find_candidates(store, quiet_since(ConversationFilter(), before_us))]
            for hours in (0, 1, 7)
            if (before_us := NOON_US + hours * HOUR_US)
        }
    assert {hours: sorted(ids) for hours, ids in found.items()} == {0: [], 1: [ONE], 7: [ONE, TWO, THREE]}


async def test_what_is_pinned_or_has_a_tag_that_is_kept_is_no_candidate(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1, state={"tags": {"keep": "yes"}})
    make_conversation(root, 2, state={"tags": {"keep": "no"}})
    (make_conversation(root, 3) / "convstore.json").write_text('{"pinned": true}')
    async with open_store(root) as store:
        found = await find_candidates(store, ConversationFilter(), [Tag("keep", "yes")])
    assert [one.id for one in found] == [TWO]


async def test_what_changed_or_went_since_it_was_chosen_stays_as_it_is(root: Path, open_store: StoreOpener) -> None:
    paths = [make_conversation(root, number) for number in (1, 2, 3)]
    async with open_store(root) as store:
        candidates = await find_candidates(store, ConversationFilter())
        write_event(paths[1], 2, make_event(2, timestamp="2026-10-01T18:00:00"))
        await store.delete(THREE)
        done = await prune(store, candidates)
    assert {one.candidate.id: one.error for one in done} == {
        ONE: None,
        TWO: "it has changed since it was found",
        THREE: "it was already deleted",
    }
    assert [name for name in names_in(root) if not name.startswith(".")] == [TWO]
