"""A damaged, deleted or replaced index: set aside, built again behind, and the server goes on answering."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import ConversationStore, Settings
from app.store.follow import background, index_repair
from app.store.follow.rebuild import rebuild
from tests.builders import index_path, index_tables, make_conversation, make_id, second_process
from tests.conftest import StoreOpener, serving

COUNT = "/api/conversations/count"
ONE = f"/api/conversations/{make_id(1)}"
NUMBER = 40


def aside(root: Path) -> list[Path]:
    return sorted(path for path in index_path(root).parent.glob("index.db.damaged-*") if path.suffix != ".db-shm")


@pytest.fixture
def many(root: Path) -> Path:
    for number in range(1, NUMBER + 1):
        make_conversation(root, number)
    return root


def overwrite(path: Path, begin: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(content)


def no_database(path: Path) -> None:
    overwrite(path, 0, b"\x55" * path.stat().st_size)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def flip_the_schema(path: Path) -> None:
    overwrite(path, 100, b"\xff" * 3000)


def flip_pages(path: Path) -> None:
    for begin in range(4096, path.stat().st_size, 4096):
        overwrite(path, begin, b"\xaa" * 200)


DAMAGES = [no_database, cut_in_half, cut_to_nothing, flip_the_schema, flip_pages]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_index_is_set_aside_at_the_start_and_built_again(
    many: Path, open_store: StoreOpener, damage: Callable[[Path], None]
) -> None:
    async with open_store(many):
        pass
    whole = index_tables(index_path(many))
    damage(index_path(many))
    async with serving(Settings(store=many)) as client:
        await until_counted(client, NUMBER)
    async with open_store(many):
        pass
    assert index_tables(index_path(many)) == whole
    assert aside(many) or damage is cut_to_nothing


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def until_counted(client: httpx.AsyncClient, number: int) -> list[int]:
    """Ask until the answer is right, and return the statuses; no answer may be a wrong number."""
    statuses = []

    async def counted() -> bool:
        answer = await client.get(COUNT)
        statuses.append(answer.status_code)
        if answer.status_code == 503:
            assert answer.headers["Retry-After"]
            return False
        return answer.status_code == 200 and bool(answer.json() == number)

    await until(counted)
    return statuses


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_repair, "_LOOK_S", 0.05)
    monkeypatch.setattr(index_repair, "_REST_S", 0.5)
    monkeypatch.setattr(background, "TICK_S", 0.05)
    monkeypatch.setattr(background, "_SOON_S", 0.05)


def delete(path: Path) -> None:
    path.unlink()


def delete_the_log(path: Path) -> None:
    path.with_name("index.db-wal").unlink()


@pytest.mark.long
@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("damage", [*DAMAGES, delete, delete_the_log])
async def test_a_server_survives_damage_to_its_index(
    many: Path, open_store: StoreOpener, damage: Callable[[Path], None]
) -> None:
    async with serving(Settings(store=many)) as client:
        damage(index_path(many))
        make_conversation(many, NUMBER + 1)
        statuses = await until_counted(client, NUMBER + 1)
        assert set(statuses) <= {200, 503}
        assert (await client.get(ONE)).status_code == 200

        async def listed() -> bool:  # a count may have been answered from pages that were still whole
            answer = await client.get("/api/conversations/search")
            assert answer.status_code in {200, 503}
            return answer.status_code == 200 and len({row["id"] for row in answer.json()["items"]}) == NUMBER + 1

        await until(listed)
    async with open_store(many):
        pass
    after = index_tables(index_path(many))
    await rebuild(Settings(store=many), lambda *_: None)
    assert index_tables(index_path(many)) == after


@pytest.mark.long
@pytest.mark.usefixtures("_eager")
async def test_until_the_conversations_are_known_again_lists_are_503_and_one_can_be_read(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    plain = ConversationStore.sync

    async def slow(self: ConversationStore, **more: Any) -> Any:
        await held.wait()
        return await plain(self, **more)

    async with serving(Settings(store=many)) as client:
        monkeypatch.setattr(ConversationStore, "sync", slow)
        no_database(index_path(many))
        delete_the_log(index_path(many))

        async def rebuilding() -> bool:
            answer = await client.get(COUNT)
            return answer.status_code == 503 and bool(answer.json()["code"] == "index_rebuilding")

        await until(rebuilding)
        for path in ("/api/conversations/search", f"/api/conversations?ids={make_id(1)}", "/api/changes"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "index_rebuilding"), path
        assert (await client.get(ONE)).json()["title"] == "A title"
        assert len((await client.get(f"{ONE}/events/search")).json()["items"]) == 2
        assert (await client.get(f"/api/conversations/{make_id(999)}")).status_code == 404
        held.set()
        await until_counted(client, NUMBER)


SERVE = """
import asyncio, sys
from app import ConversationStore, Settings
from app.errors import StoreError
from app.store.follow import index_repair, background
from app.store.follow.background import run_background

index_repair._LOOK_S = background.TICK_S = background._SOON_S = 0.05
index_repair._REST_S = 0.5

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        following = asyncio.create_task(run_background(store))
        wanted, whole = int(sys.argv[2]), False
        while True:
            try:
                count = await store.count_conversations()
                assert count in {wanted - 1, wanted} or not whole, f"{count} for {wanted}"
                if count == wanted:
                    whole = True
                    print(wanted, flush=True)
                    wanted = int(await asyncio.to_thread(sys.stdin.readline))
            except StoreError as error:
                pass
            assert not following.done(), following.exception()
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.parametrize("damage", [no_database, delete, flip_pages])
def test_of_several_processes_one_sets_the_index_aside(many: Path, damage: Callable[[Path], None]) -> None:
    with second_process(SERVE, many, NUMBER) as one, second_process(SERVE, many, NUMBER) as two:
        assert [one.hear(), two.hear()] == [str(NUMBER)] * 2
        damage(index_path(many))
        make_conversation(many, NUMBER + 1)
        for process in (one, two):
            process.say(str(NUMBER + 1))
        assert [one.hear(), two.hear()] == [str(NUMBER + 1)] * 2
    assert len([path for path in aside(many) if not path.name.endswith(("-wal", "-shm"))]) == (damage is not delete)
    with closing(sqlite3.connect(index_path(many))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_lost_log_is_caught_up_and_tokens_stay_good(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root):
        pass
    path = index_path(root)
    before = path.read_bytes()
    async with open_store(root) as store:
        make_conversation(root, 2)
        await store.sync()
        place = await store.get_place()
    path.write_bytes(before)
    async with serving(Settings(store=root)) as client:
        assert (await client.get(COUNT)).json() == 2
        changed = (await client.get("/api/changes", params={"since": place.token})).json()
    assert [item["id"].replace("-", "") for item in changed["items"]] == [make_id(2)]


def seeds() -> range:
    """Return the numbers of the random faults: a few here, 300 with `make true`."""
    return range(int(os.environ.get("CONVSTORE_TEST_FAULTS", "12")))


@pytest.mark.long
@pytest.mark.parametrize("seed", seeds())
async def test_a_random_fault_is_detected_or_harmless(many: Path, open_store: StoreOpener, seed: int) -> None:
    async with open_store(many):
        pass
    whole = index_tables(index_path(many))
    dice = random.Random(seed)  # noqa: S311
    path = index_path(many)
    size = path.stat().st_size
    if dice.random() < 0.2:
        os.truncate(path, dice.randrange(size))
    else:
        begin = dice.randrange(size)
        overwrite(path, begin, dice.randbytes(min(dice.choice([1, 16, 512, 4096]), size - begin)))
    async with open_store(many) as store:
        await store.verify(fix=True)
    async with open_store(many) as store:
        assert await store.verify() == []
    assert index_tables(index_path(many)) == whole
