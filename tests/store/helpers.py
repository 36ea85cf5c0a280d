"""What the tests of the store share: what its files say, and what other programs do to them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from app import ConversationStore
from app.files.layout import ConversationDir
from app.files.metadata_reader import Reader
from app.files.row_reader import read_rows
from app.index import tally
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.messages import clear_messages
from app.model.conversation import IndexedRow
from app.model.ids import ConversationId
from tests.builders import index_tables, make_event, make_id, make_meta, write_event

ONE = ConversationId(make_id(1))
"""The conversation that `make_conversation` makes unless it is told otherwise."""

_FORGET = Sql("DELETE FROM conversation", {})


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((path / "events").glob("event-*.json"))]


def state_of(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((path / "base_state.json").read_text())
    return value


async def is_rebuilt_equal(store: ConversationStore) -> bool:
    """Whether the index is what reading all files anew makes of them."""
    before = index_tables(store.settings.index_path)

    def write(connection: WriteConnection) -> None:
        clear_messages(connection)
        connection.execute_many(_FORGET, [{}])
        tally.recount(connection)

    await store.index.write(write)
    await store.sync()
    after = index_tables(store.settings.index_path)
    for tables in (before, after):
        del tables["sync_state"]
    assert after == before
    return True


def append_without_head(path: Path) -> None:
    """Leave what a crash leaves between an event and HEAD."""
    now_ns = time.time_ns()
    os.utime(path / "base_state.json", ns=(now_ns - 2, now_ns - 2))
    event = make_event(7, parent_id=state_of(path)["leaf_event_id"])
    os.utime(write_event(path, 2, event), ns=(now_ns - 1, now_ns - 1))


Rows = tuple[list[IndexedRow], list[ConversationDir]]


def then_once(
    work: Callable[[], object],
) -> Callable[[Reader, Sequence[ConversationDir], Mapping[str, bytes]], Rows]:
    """Return `read_rows` that does something more, in its thread, after it has read for the first time."""
    left = [work]

    def read(reader: Reader, named: Sequence[ConversationDir], known: Mapping[str, bytes] | None = None) -> Rows:
        found = read_rows(reader, named, known or {})
        while left:
            left.pop()()
        return found

    return read


def retitle(directory: Path, title: str) -> None:
    (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title=title)))


async def title(store: ConversationStore, conversation_id: ConversationId = ONE) -> Any:
    return orjson.loads(await store.get_conversation(conversation_id))["title"]


async def listed(store: ConversationStore) -> dict[str, dict[str, Any]]:
    """Return all that is listed, by id."""
    infos = map(orjson.loads, (await store.list_conversations()).items)
    return {info["id"].replace("-", ""): info for info in infos}
