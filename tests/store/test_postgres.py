"""A store whose index is in PostgreSQL: reads and writes of one host, and what is different there."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from app import ConversationStore, Settings
from app.errors import ConversationNotFound, IndexUnusable
from app.index import state
from app.index.dialect import Sql
from app.index.postgres import database, own_host
from app.index.postgres.server import Server
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.admin.doctor import examine_store
from app.store.admin.erase import erase_conversations
from app.store.admin.findings import Level
from app.store.follow.leader import has_leader_elsewhere, lead
from app.store.follow.rebuild import rebuild
from tests.builders import make_conversation, make_event, make_id, make_message_event

psycopg = pytest.importorskip("psycopg")
pytestmark = [pytest.mark.long, pytest.mark.postgres]

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))


@pytest.fixture
def settings(root: Path, postgres_url: str, schema: str) -> Settings:
    return Settings(store=root, index_url=postgres_url, index_schema=schema, timezone="UTC")


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[ConversationStore]:
    make_conversation(settings.root, 1, events=[make_message_event(0, "a parser"), make_event(1)])
    make_conversation(settings.root, 2, meta={"title": "Another"})
    async with ConversationStore.open(settings) as store:
        await store.sync()
        yield store


async def titles(store: ConversationStore) -> list[str | None]:
    return sorted(orjson.loads(body)["title"] for body in (await store.list_conversations()).items)


async def test_what_is_written_is_listed_found_and_equal_to_the_files(store: ConversationStore) -> None:
    before = await store.get_place()
    async with store.writer(ONE) as conversation:
        assert (await conversation.append(make_message_event(2, "a lexer"))).warning is None
        assert (await conversation.update(title="New", tags={"area": "api"})).warning is None
    assert [hit.seq for hit in (await store.search_messages("lexer")).items] == [2]
    fork = await store.fork(ONE, title="A fork")
    assert fork.warning is None
    assert (await store.delete(TWO)).warning is None
    with pytest.raises(ConversationNotFound):
        await store.get_conversation(TWO)
    assert (await store.restore(TWO)).warning is None
    assert await titles(store) == ["A fork", "Another", "New"]
    assert await store.count_conversations(ConversationFilter(q="lexer")) == 2
    changed = {one.id for one in (await store.list_changes(before)).items}
    assert {ONE, TWO} < changed
    assert await store.verify() == []
    async with ConversationStore.open(store.settings.model_copy(update={"index_url": None})) as other:
        await other.sync()
        assert (await other.list_conversations()).items == (await store.list_conversations()).items


async def test_a_state_is_the_same_until_something_is_written(store: ConversationStore) -> None:
    first = await store.index.find_state()
    assert (first is not None, await store.index.find_state()) == (True, first)
    await store.index.write(state.bump_revision)
    assert await store.index.find_state() != first


async def test_one_of_two_processes_leads(store: ConversationStore, settings: Settings) -> None:
    async with ConversationStore.open(settings) as other, lead(store.index):
        assert await asyncio.to_thread(has_leader_elsewhere, other.index)
        assert not await asyncio.to_thread(has_leader_elsewhere, store.index)


async def test_connections_that_the_server_ends_are_made_again(store: ConversationStore, postgres_url: str) -> None:
    opened = store.index.opened
    async with store.writer(ONE) as conversation:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'convstore' AND pid <> pg_backend_pid()"
            )
        assert len(await titles(store)) == 2
        assert await store.index.find_state() is not None
        assert (await conversation.append(make_event(2))).warning is None
    assert store.index.opened != opened, "the leader compares all files after a lost connection"
    assert await store.verify() == []


async def test_a_server_that_is_away_is_an_error_with_its_place_and_no_password(root: Path) -> None:
    away = "postgresql://someone:secret@127.0.0.1:1/convstore"
    with pytest.raises(IndexUnusable, match=r"127\.0\.0\.1:1/convstore") as caught:
        async with ConversationStore.open(Settings(store=root, index_url=away)):
            pass
    assert "secret" not in str(caught.value)


async def test_another_store_may_not_use_the_same_schema(store: ConversationStore, tmp_path: Path) -> None:
    shutil.copytree(store.settings.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".convstore"))
    other = store.settings.model_copy(update={"store": tmp_path / "copy"})
    moved = Settings.model_validate(other.model_dump())
    with pytest.raises(IndexUnusable, match="CONVSTORE_INDEX_SCHEMA"):
        async with ConversationStore.open(moved):
            pass


async def test_a_rebuild_reads_all_files_again_in_place(store: ConversationStore, settings: Settings) -> None:
    epoch = (await store.index.find_state() or "").partition(".")[0]
    wrong = Sql("UPDATE tally SET number = number + 1", {})
    await store.index.write(lambda connection: connection.execute_many(wrong, [{}]))
    assert await store.verify()
    report = await rebuild(settings, lambda *_: None)
    assert (report.conversations, report.opened, report.logs) == (2, 2, 2)
    assert (await store.index.find_state() or "").partition(".")[0] != epoch
    assert await store.verify() == []


def test_a_store_has_an_id_also_where_there_are_no_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    token = database._read_token(root)
    assert (len(token), database._read_token(root)) == (32, token)


async def test_an_erased_conversation_is_in_no_table(store: ConversationStore, postgres_url: str) -> None:
    assert (await erase_conversations(store, [ONE])).is_complete
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'SET search_path TO "{store.settings.index_schema}"')
        left = connection.execute(
            "SELECT (SELECT count(*) FROM message WHERE text LIKE '%parser%'),"
            " (SELECT count(*) FROM message_words WHERE words @@ 'parser'::tsquery)"
        ).fetchone()
    assert left == (0, 0)


async def test_the_doctor_finds_a_sound_index(store: ConversationStore) -> None:
    found = [finding async for finding in examine_store(store.settings, "0", sample=2)]
    assert [one for one in found if one.level is Level.PROBLEM] == []
    assert any(one.check == "schema" and "PostgreSQL" in one.found for one in found)


async def test_the_doctor_tells_who_writes_the_clock_and_a_pooler(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(check: str) -> tuple[Level, str]:
        [one] = [one async for one in examine_store(store.settings, "0", sample=0) if one.check == check]
        return one.level, one.found

    assert await told("hosts") == (Level.OK, "none writes now")
    async with store.writer(ONE):
        assert await told("hosts") == (Level.OK, f"1 live and write: {store._writers.instance}")
    assert (await told("server clock"))[0] is Level.OK
    monkeypatch.setattr(own_host, "measure_clock", lambda _: -3.0)
    assert await told("server clock") == (Level.NOTE, "PostgreSQL's clock is 3.0 s behind this machine's")
    monkeypatch.setattr(Server, "shares_sessions", lambda *_: True)
    assert await told("pooler") == (Level.PROBLEM, "a pooler shares sessions between connections")
