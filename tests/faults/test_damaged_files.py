"""Damaged conversations: each is listed with its reason, and harms no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from app.model.ids import ConversationId
from app.model.page import SortOrder
from app.store.read.event_reader import UnreadableEvent
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener


def empty_state(directory: Path) -> None:
    (directory / "base_state.json").write_text("")


def torn_state(directory: Path) -> None:
    (directory / "base_state.json").write_text('{"id": "x", "agent"')


def no_state(directory: Path) -> None:
    (directory / "base_state.json").unlink()


def torn_meta(directory: Path) -> None:
    (directory / "meta.json").write_text("{")


def meta_that_is_a_list(directory: Path) -> None:
    (directory / "meta.json").write_text("[]")


def events_that_is_a_file(directory: Path) -> None:
    shutil.rmtree(directory / "events")
    (directory / "events").write_text("")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (empty_state, "base_state.json: the file is empty"),
        (torn_state, "base_state.json: not valid JSON"),
        (no_state, "base_state.json: missing"),
        (torn_meta, "meta.json: not valid JSON"),
        (meta_that_is_a_list, "meta.json: not a JSON object"),
        (events_that_is_a_file, "events/ cannot be listed"),
    ],
)
async def test_an_unreadable_conversation_is_listed_with_its_reason_and_harms_no_other(
    root: Path, open_store: StoreOpener, harm: Callable[[Path], None], reason: str
) -> None:
    directory = make_conversation(root, 1)
    make_conversation(root, 2, meta={"created_at": "2026-10-02T12:00:00Z"})
    async with open_store(root) as store:
        [_, other] = (await store.list_conversations(order=SortOrder.CREATED_AT)).items
        harm(directory)
        assert (await store.sync()).unreadable == 1
        listed = (await store.list_conversations()).items
    assert other in listed
    [info] = [orjson.loads(body) for body in listed if body != other]
    assert (info["execution_status"], info["unreadable"][: len(reason)]) == ("error", reason)


async def test_a_torn_event_is_told_and_the_others_are_served(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, events=3)
    torn = sorted((directory / "events").iterdir())[1]
    torn.write_bytes(torn.read_bytes()[:-5])
    async with open_store(root) as store:
        page = await store.list_events(ConversationId(make_id(1)))
    assert [orjson.loads(item)["id"] for item in page.items] == [make_event(0)["id"], make_event(2)["id"]]
    [unreadable] = page.unreadable
    assert (unreadable.seq, unreadable.event_id, unreadable.reason[:14]) == (1, make_event(1)["id"], "not valid JSON")


async def test_a_torn_event_that_is_mended_is_served_again(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, events=2)
    torn = min((directory / "events").iterdir())
    torn.write_text("")
    async with open_store(root) as store:
        torn.unlink()
        write_event(directory, 0)
        await store.sync()
        page = await store.list_events(ConversationId(make_id(1)))
    assert (len(page.items), page.unreadable) == (2, [])


async def test_a_gap_in_a_log_is_told_and_both_sides_are_served(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, events=2)
    write_event(directory, 4)
    async with open_store(root) as store:
        page = await store.list_events(ConversationId(make_id(1)))
    told = UnreadableEvent(2, None, "events 2 to 3 are missing: no file has this number")
    assert (len(page.items), page.unreadable) == (3, [told])
