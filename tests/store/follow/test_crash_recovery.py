"""After a crash: what was open is read again and nothing else, HEAD goes forward, a cut-off run ends once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import Settings
from app.errors import DiskFull, UnreadableFile, WriteFailed
from app.files import durable
from app.files.lease import find_holder
from app.model.ids import ConversationId
from tests.builders import (
    index_tables,
    make_conversation,
    make_event,
    make_id,
    opened_files,
    second_process,
    write_event,
)
from tests.conftest import StoreOpener, serving
from tests.files.test_lease import refused
from tests.store.helpers import is_rebuilt_equal, log_of, state_of

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))

# Opens the first two of three conversations, does what it is told to the first, and waits to be killed.
OWNER = """
import asyncio, sys
from contextlib import AsyncExitStack
from app import ConversationStore, Settings
from app.model.filters import Status
from tests.builders import make_event, make_id

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store, AsyncExitStack() as stack:
        await store.sync()
        one, two = [await stack.enter_async_context(store.writer(make_id(number))) for number in (1, 2)]
        await one.append(make_event(5))
        for step in sys.argv[2:]:
            if step == "running":
                await one.set_status(Status.RUNNING)
            elif step == "navigate":
                await one.navigate(make_event(1)["id"])
            else:
                await one.append(make_event(6, kind="ActionEvent", source="agent", action={"kind": "A"},
                                            tool_name="terminal", tool_call_id="call", parent_id=make_event(5)["id"]))
        print("open", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


@pytest.fixture
def three(root: Path) -> Path:
    for number in (1, 2, 3):
        make_conversation(root, number)
    return root


def crash(root: Path, *steps: str) -> None:
    with second_process(OWNER, root, *steps) as owner:
        assert owner.hear() == "open"
        owner.kill()


Crash = Callable[..., Path]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory, empty_index: Path, _shared_index: str) -> Crash:
    """Give a store as a crash after some steps left it."""
    known: dict[tuple[str, ...], Path] = {}

    def get(*steps: str) -> Path:
        if steps not in known:
            root = known[steps] = tmp_path_factory.mktemp("crashed") / "conversations"
            (root / ".convstore").mkdir(parents=True)
            shutil.copyfile(empty_index, root / ".convstore" / "index.db")
            for number in (1, 2, 3):
                make_conversation(root, number)
            crash(root, *steps)
        copy = tmp_path_factory.mktemp("copy") / "conversations"
        return Path(shutil.copytree(known[steps], copy))

    return get


def append_unseen(path: Path, parent: str) -> dict[str, Any]:
    """Leave an event in the log as a crash does before HEAD was written."""
    event = make_event(7, parent_id=parent)
    write_event(path, len(log_of(path)), event)
    return event


async def test_only_what_was_open_is_read_again(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed()
    event = append_unseen(three / ONE, make_event(5)["id"])
    async with open_store(three, synced=False) as store:
        with opened_files() as opened:
            recovered = await store.recover()
        read = {path.split("/")[-1] for path in opened if path.endswith(".json") or make_id(3) in path}
        assert sorted(recovered.read) == [ONE, TWO]
        assert not any(make_id(3) in path for path in opened)
        assert {path for path in read if path.startswith("event-")} <= {
            f"event-{seq:05d}-{one['id']}.json"
            for seq, one in ((0, make_event(0)), (1, make_event(1)), (2, make_event(5)), (3, event))
        }  # both ends, for the preview and the times, and what is new
        assert await store.count_events(ONE) == 4
        assert await store.recover() == ([], [])
        assert await is_rebuilt_equal(store)


async def test_what_a_living_owner_has_open_is_left_alone(three: Path, open_store: StoreOpener) -> None:
    with second_process(OWNER, three, "running") as owner:
        assert owner.hear() == "open"
        async with open_store(three) as store:
            assert await store.recover(end_runs=True) == ([], [])
    assert state_of(three / ONE)["execution_status"] == "running"


@pytest.mark.long
async def test_a_server_recovers_behind_its_first_answers(crashed: Crash) -> None:
    three = crashed("running")
    append_unseen(three / ONE, make_event(5)["id"])
    async with serving(Settings(store=three)) as client:
        info = (await client.get(f"/api/conversations/{ONE}")).json()
        assert (info["event_count"], info["execution_status"]) == (4, "running")
    assert state_of(three / ONE)["leaf_event_id"] == make_event(5)["id"]


async def test_head_goes_forward_when_it_is_opened_for_writing(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed()
    event = append_unseen(three / ONE, make_event(5)["id"])
    async with open_store(three) as store:
        async with store.writer(ONE) as conversation:
            assert state_of(three / ONE)["leaf_event_id"] == event["id"]
            await conversation.append(make_event(8))
        assert log_of(three / ONE)[-1]["parent_id"] == event["id"]
        assert await is_rebuilt_equal(store)


@pytest.mark.parametrize("between", ["deleted and restored", "lent"])
async def test_head_goes_forward_also_when_another_had_it_between(
    crashed: Crash, open_store: StoreOpener, between: str
) -> None:
    three = crashed()
    event = append_unseen(three / ONE, make_event(5)["id"])
    async with open_store(three) as store:
        if between == "lent":
            lease = await store.claim(ONE, "a client", ttl_s=60)
            async with store.writer(ONE, held=lease) as conversation:
                await conversation.append(make_event(8))
        else:
            await store.delete(ONE)
            await store.restore(ONE)
            async with store.writer(ONE) as conversation:
                await conversation.append(make_event(8))
    assert log_of(three / ONE)[-1]["parent_id"] == event["id"]


async def test_a_conversation_is_not_lent_while_its_head_cannot_be_put_right(
    crashed: Crash, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = crashed()
    event = append_unseen(three / ONE, make_event(5)["id"])
    async with open_store(three) as store:
        with refused(monkeypatch, errno.EIO, "base_state.json"), pytest.raises(UnreadableFile):
            await store.claim(ONE, "a client", ttl_s=60)
        assert find_holder(three, ONE) is None
        held = await store.claim(ONE, "another", ttl_s=60)
        async with store.writer(ONE, held=held) as conversation:
            await conversation.append(make_event(8))
    assert log_of(three / ONE)[-1]["parent_id"] == event["id"]


async def test_a_navigation_is_never_undone(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed("navigate")
    async with open_store(three) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(8))
    assert log_of(three / ONE)[-1]["parent_id"] == make_event(1)["id"]


async def test_an_event_of_another_branch_moves_no_head(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed()
    append_unseen(three / ONE, make_event(1)["id"])
    async with open_store(three) as store, store.writer(ONE):
        assert state_of(three / ONE)["leaf_event_id"] == make_event(5)["id"]


@pytest.mark.parametrize("by", ["writer", "recover"])
async def test_a_run_that_was_cut_off_ends_once_with_an_error_for_its_action(
    crashed: Crash, open_store: StoreOpener, by: str
) -> None:
    three = crashed("running", "action")
    async with open_store(three) as store:
        for ended in ([ONE], []):
            if by == "recover":
                assert (await store.recover(end_runs=True)).ended == ended
            else:
                async with store.writer(ONE):
                    pass
        info = orjson.loads(await store.get_conversation(ONE))
        assert (info["execution_status"], info["event_count"]) == ("error", 5)
        assert await is_rebuilt_equal(store)
    last = log_of(three / ONE)[-1]
    assert (last["kind"], last["tool_call_id"], last["parent_id"]) == ("AgentErrorEvent", "call", make_event(6)["id"])
    assert state_of(three / ONE)["leaf_event_id"] == last["id"]


async def test_a_run_ends_once_however_often_its_end_is_cut_off(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed("running", "action")
    async with open_store(three) as store, store.writer(ONE):
        pass
    state = state_of(three / ONE) | {"execution_status": "running"}  # as if it was killed between event and status
    (three / ONE / "base_state.json").write_text(json.dumps(state))
    lease = three / ONE / "owner_lease.json"
    lease.write_text(json.dumps(json.loads(lease.read_text()) | {"expires_at": 1.0, "owner_instance_id": "dead"}))
    async with open_store(three) as store, store.writer(ONE):
        pass
    assert [event["kind"] for event in log_of(three / ONE)].count("AgentErrorEvent") == 1
    assert state_of(three / ONE)["execution_status"] == "error"


async def test_a_run_without_an_open_action_ends_without_an_event(crashed: Crash, open_store: StoreOpener) -> None:
    three = crashed("running")
    async with open_store(three) as store:
        before = index_tables(store.settings.index_path)["event"]
        assert (await store.recover(end_runs=True)).ended == [ONE]
        assert index_tables(store.settings.index_path)["event"] == before
    assert state_of(three / ONE)["execution_status"] == "error"


async def test_a_dry_run_tells_which_runs_would_be_ended_and_writes_nothing(
    crashed: Crash, open_store: StoreOpener
) -> None:
    three = crashed("running")
    for number, lease in ((4, None), (5, 0.0), (6, 1.0), (7, time.time() + 99)):  # none, given back, expired, held
        path = make_conversation(three, number, state={"execution_status": "running"})
        body = {"owner_instance_id": "agent-server", "generation": 1, "expires_at": lease}
        (path / "owner_lease.json").write_text(json.dumps(body))
        if lease is None:
            (path / "owner_lease.json").unlink()
    async with open_store(three) as store:
        before = {path: path.read_bytes() for path in three.glob("0*/**/*") if path.is_file()}
        told = (await store.recover(end_runs=True, dry_run=True)).ended
        assert sorted(told) == [ONE, make_id(4), make_id(6)]
        assert {path: path.read_bytes() for path in three.glob("0*/**/*") if path.is_file()} == before
        assert (await store.recover(end_runs=True)).ended == told


async def test_a_run_whose_end_could_not_be_written_is_ended_by_the_next_opening(
    crashed: Crash, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = crashed("running")

    async def fails(*_: object) -> None:
        raise DiskFull("no space")

    async with open_store(three) as store:
        with monkeypatch.context() as patched:
            patched.setattr("app.store.write.writer_pool.end_interrupted_run", fails)
            with pytest.raises(DiskFull):
                await store.writer(ONE).__aenter__()
        async with store.writer(ONE):
            pass
        assert state_of(three / ONE)["execution_status"] == "error"


async def test_a_run_whose_error_is_written_but_not_its_status_is_ended_when_opened(
    crashed: Crash, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = crashed("running", "action")
    write = durable.replace

    def fails(fd: int, name: str, data: bytes, **options: bool) -> os.stat_result:
        if name == "base_state.json":
            raise DiskFull("no space")
        return write(fd, name, data, **options)

    async with open_store(three) as store:
        with monkeypatch.context() as patched:
            patched.setattr(durable, "replace", fails)
            with pytest.raises(WriteFailed, match="no space"):
                await store.writer(ONE).__aenter__()
        assert state_of(three / ONE)["execution_status"] == "running"
        async with store.writer(ONE):
            pass
        assert await is_rebuilt_equal(store)
    assert state_of(three / ONE)["execution_status"] == "error"
    assert [event["kind"] for event in log_of(three / ONE)].count("AgentErrorEvent") == 1


async def test_a_crash_of_one_worker_moves_head_for_its_sibling(
    three: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSTORE_INSTANCE", "one-server")
    async with open_store(three) as sibling, sibling.writer(TWO, force=True):
        crash(three)
        event = append_unseen(three / ONE, make_event(5)["id"])
        async with sibling.writer(ONE):
            assert state_of(three / ONE)["leaf_event_id"] == event["id"]
