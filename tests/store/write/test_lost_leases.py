"""A lease that is gone while a conversation is open: the next write claims anew where nobody owns it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore
from app.errors import ConversationNotFound, EventExists, OutcomeUnknown, OwnershipLost, QueryTooSlow
from app.files import lease, liveness
from app.files.layout import LAST_LEASE, LEASE
from app.index import ownership
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, is_rebuilt_equal, log_of, state_of


def put_back(path: Path) -> None:
    """Replace a conversation by the copy of it that `copied` made."""
    shutil.rmtree(path)
    shutil.copytree(path.with_name("copy"), path)
    shutil.rmtree(path.with_name("copy"))


def copied(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"))


def both_leases_deleted(path: Path) -> None:
    (path / LEASE).unlink()
    (path / LAST_LEASE).unlink()


def taken_and_released(path: Path) -> None:
    with liveness.stay_alive(path.parent, "another"):
        held = lease.claim(path.parent, path.name, "another", force=True).lease
        lease.release(path.parent, path.name, held)


def taken_by_one_that_died(path: Path) -> None:
    with liveness.stay_alive(path.parent, "another"):
        lease.claim(path.parent, path.name, "another", force=True)


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.upper()))


def both_leases_empty(path: Path) -> None:
    (path / LEASE).write_bytes(b"")
    (path / LAST_LEASE).write_bytes(b"")


def nothing(_: Path) -> None:
    pass


LOST: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "lease deleted": (nothing, lambda path: (path / LEASE).unlink()),
    "both leases deleted": (nothing, both_leases_deleted),
    "lease empty": (nothing, both_leases_empty),
    "put back": (copied, put_back),
    "taken and released": (nothing, taken_and_released),
    "taken by one that died": (nothing, taken_by_one_that_died),
    "renamed": (nothing, renamed),
}


def generation_of(path: Path) -> Any:
    return json.loads((path / LEASE).read_text())["generation"]


async def append(store: ConversationStore, number: int) -> int:
    async with store.writer(ONE) as conversation:
        return (await conversation.append(make_event(number))).seq


@pytest.mark.parametrize("how", LOST)
async def test_the_next_write_claims_anew_and_is_done(root: Path, open_store: StoreOpener, how: str) -> None:
    path = make_conversation(root, 10)
    before, then = LOST[how]
    conversation_id = type(ONE)(make_id(10))
    async with open_store(root) as store, store.writer(conversation_id) as conversation:
        before(path)
        await conversation.append(make_event(2))
        first = generation_of(path)
        then(path)
        path = path if path.exists() else path.with_name(path.name.upper())
        number = len(log_of(path))
        assert (await conversation.append(make_event(3))).seq == number
        assert (await conversation.append(make_event(4))).warning is None
        assert generation_of(path) >= first
        assert [event["id"] for event in log_of(path)][number:] == [make_event(3)["id"], make_event(4)["id"]]
        assert await is_rebuilt_equal(store)


async def test_a_conversation_back_from_a_backup_is_written_to_under_a_higher_generation(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    copied(path)
    async with open_store(root) as store:
        await append(store, 2)
        taken_and_released(path)
        await append(store, 3)
        highest = generation_of(path)
    async with open_store(root, synced=False) as store:
        put_back(path)
        assert await append(store, 4) == 2
        assert generation_of(path) > highest
        assert await is_rebuilt_equal(store)


async def test_what_another_owner_wrote_meanwhile_is_kept(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        write_event(path, 3)
        (path / LEASE).unlink()
        assert (await conversation.append(make_event(4))).seq == 4
        assert await is_rebuilt_equal(store)


async def test_another_owner_who_lives_is_not_robbed(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        with liveness.stay_alive(root, "another"):
            lease.claim(root, path.name, "another", force=True)
            for _ in range(2):
                with pytest.raises(OwnershipLost, match="but by another"):
                    await conversation.append(make_event(3))
        assert len(log_of(path)) == 3
        assert (await conversation.append(make_event(3))).seq == 3


async def test_a_client_claims_for_itself(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        held = await store.claim(ONE, "a-client", ttl_s=60)
        async with store.writer(ONE, held=held) as conversation:
            await conversation.append(make_event(2))
            (path / LEASE).unlink()
            with pytest.raises(OwnershipLost, match="by nobody"):
                await conversation.append(make_event(3))


async def test_a_clients_generation_is_above_that_of_the_index(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        await append(store, 2)
        before = generation_of(path)
        both_leases_deleted(path)
        held = await store.claim(ONE, "a-client", ttl_s=60)
        assert held.generation > before
        async with store.writer(ONE, held=held) as conversation:
            assert (await conversation.append(make_event(3))).warning is None


async def test_a_run_of_its_own_goes_on_and_one_that_another_died_in_is_ended(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, state={"execution_status": "running"})
    (path / LEASE).write_text(json.dumps({"owner_instance_id": "x", "generation": 1, "expires_at": 0}))
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        (path / LEASE).unlink()
        await conversation.append(make_event(3))
        assert state_of(path)["execution_status"] == "running"
        taken_by_one_that_died(path)
        await conversation.append(make_event(4))
        assert state_of(path)["execution_status"] == "error"
        assert await is_rebuilt_equal(store)


async def test_a_deleted_one_is_not_made_again(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    make_conversation(root, 2)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        shutil.rmtree(path)
        with pytest.raises(ConversationNotFound):
            await conversation.append(make_event(3))
        assert not path.exists()


async def test_two_workers_go_on_under_one_new_lease(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    same = {"workers": 2, "instance": "convstore-of-two"}
    async with open_store(root, **same) as store, open_store(root, **same) as other:
        async with store.writer(ONE) as conversation, other.writer(ONE) as theirs:
            await conversation.append(make_event(2))
            await theirs.append(make_event(3))
            both_leases_deleted(path)
            await conversation.append(make_event(4))
            new = generation_of(path)
            await theirs.append(make_event(5))
            await conversation.append(make_event(6))
        assert (len(log_of(path)), generation_of(path)) == (7, new)
        assert await is_rebuilt_equal(store)
    assert lease.find_holder(root, ONE) is None


async def test_a_write_that_the_index_refuses_after_its_files_is_not_called_failed(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(7))
            await store.index.write(partial(ownership.set_dirty, conversation_id=ONE, owner="another", generation=1000))
            with pytest.raises(OutcomeUnknown, match="was taken over"):
                await conversation.append(make_event(8))
        async with store.writer(ONE) as conversation:
            with pytest.raises(EventExists):
                await conversation.append(make_event(8))


async def test_a_write_whose_rows_cannot_be_read_in_time_is_acknowledged_with_a_warning(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_too_long() -> bool:
        raise QueryTooSlow("the index took too long")

    make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        conversation.behind = True
        with monkeypatch.context() as slow:
            slow.setattr(conversation, "_reindex", take_too_long)
            assert "too long" in ((await conversation.append(make_event(8))).warning or "")
        assert (await conversation.append(make_event(9))).warning is None
        assert await is_rebuilt_equal(store)
