"""Ownership: one owner at a time, a generation that never falls, and a stale owner that writes nothing."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConversationNotFound, ConversationOwned, OwnershipLost, WriteFailed
from app.files import layout, lease, liveness
from app.files.layout import LAST_LEASE, LEASE
from app.files.lease import Lease
from tests.builders import details_in, make_conversation, make_foreign, make_id, second_process

ME, OTHER = "convstore-me", "convstore-other"

_LIVE = """
import sys
from pathlib import Path
from app.files import lease, liveness
root, directory, instance = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with liveness.stay_alive(root, instance):
    print(lease.claim(root, directory, instance).lease.generation, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(root: Path) -> Iterator[Path]:
    with liveness.stay_alive(root, ME):
        yield make_conversation(root)


def claim(path: Path, instance: str = ME, **options: Any) -> Lease:
    return lease.claim(path.parent, path.name, instance, **options).lease


def write(path: Path, held: Lease) -> None:
    with lease.open_to_write(path.parent, path.name) as fd, lease.hold_lease(path.parent, path.name, fd, held):
        (path / "written").touch()


def on_disk(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((path / LEASE).read_text())
    return value


def agent_server_holds(path: Path, generation: int, *, for_s: float) -> None:
    body = {"owner_instance_id": "agent-server", "generation": generation, "expires_at": time.time() + for_s}
    (path / LEASE).write_text(json.dumps(body | {"owner_host": os.uname().nodename, "owner_pid": 1}))


def living_elsewhere(path: Path) -> Any:
    return second_process(_LIVE, path.parent, path.name, OTHER)


@contextmanager
def refused(monkeypatch: pytest.MonkeyPatch, number: int, *names: str, mode: int = os.O_RDONLY) -> Iterator[None]:
    """Opening files of these names fails."""
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path in names and flags & os.O_ACCMODE == mode:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        yield


def test_a_claim_is_one_that_agent_server_reads_and_leaves_until_it_expires(path: Path) -> None:
    held = claim(path)
    body = on_disk(path)
    assert (body["owner_instance_id"], body["generation"], body["owner_host"]) == (ME, 1, os.uname().nodename)
    assert 40 < body["expires_at"] - time.time() <= 45
    assert "owner_pid" not in body
    with layout.open_directory(path) as fd:
        assert lease.read_lease(fd) == held


def test_the_same_owner_keeps_its_generation(path: Path) -> None:
    assert claim(path).generation == claim(path).generation == 1


def test_another_is_refused_while_the_owner_lives_however_late_it_is(path: Path) -> None:
    with living_elsewhere(path) as other:
        assert other.hear() == "1"
        for expires_at in (time.time() + 45, time.time() - 1000):
            (path / LEASE).write_text(json.dumps(on_disk(path) | {"expires_at": expires_at}))
            with pytest.raises(ConversationOwned, match=OTHER):
                claim(path)
        assert lease.find_holder(path.parent, path.name) is not None


def test_a_dead_owner_is_followed_at_once(path: Path) -> None:
    with living_elsewhere(path) as other:
        assert other.hear() == "1"
        other.kill()
        assert lease.find_holder(path.parent, path.name) is None
        assert claim(path).generation == 2


def test_an_owner_that_was_taken_over_writes_nothing(path: Path) -> None:
    stale = claim(path)
    fresh = claim(path, OTHER, force=True)
    assert fresh.generation == 2
    with pytest.raises(OwnershipLost, match="no longer owned"):
        write(path, stale)
    assert not (path / "written").exists()
    with pytest.raises(OwnershipLost):
        lease.renew(path.parent, path.name, stale)
    lease.release(path.parent, path.name, stale)
    write(path, fresh)
    assert (path / "written").exists()


def test_the_generation_goes_on_after_a_release_a_deleted_and_an_empty_lease(path: Path) -> None:
    first = claim(path)
    lease.release(path.parent, path.name, first)
    assert on_disk(path)["expires_at"] == 0
    assert claim(path, OTHER).generation == 2
    (path / LEASE).unlink()
    third = claim(path)
    assert third.generation == 3
    lease.release(path.parent, path.name, third)
    assert claim(path).generation == 4  # also for the same owner: its older writes must not pass


def test_an_empty_lease_lets_nobody_in_and_nobody_out(path: Path) -> None:
    with living_elsewhere(path) as other:
        other.hear()
        (path / LEASE).write_bytes(b"")
        with pytest.raises(ConversationOwned):
            claim(path)
        other.kill()
        mine = claim(path)
    assert mine.generation == 2
    (path / LEASE).write_bytes(b"")
    write(path, mine)


def test_an_agent_servers_lease_ends_by_its_time_alone(path: Path) -> None:
    agent_server_holds(path, 7, for_s=60)
    with pytest.raises(ConversationOwned, match="agent-server"):
        claim(path)
    agent_server_holds(path, 7, for_s=-1)
    assert claim(path).generation == 8


def test_a_lease_of_another_machine_ends_by_its_time(path: Path) -> None:
    claim(path, OTHER)
    body = on_disk(path) | {"convstore": {"boot": "another"}}
    (path / LEASE).write_text(json.dumps(body))
    with pytest.raises(ConversationOwned):
        claim(path)
    (path / LEASE).write_text(json.dumps(body | {"expires_at": time.time() - 1}))
    assert claim(path).generation == 2


def test_a_moved_directory_is_not_written_to_nor_made_again(path: Path) -> None:
    held = claim(path)
    with lease.open_to_write(path.parent, path.name) as fd:
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(OwnershipLost, match="moved away"), lease.hold_lease(path.parent, path.name, fd, held):
            pass
    with pytest.raises(ConversationNotFound):
        claim(path)
    assert not path.exists()


def test_renewing_makes_it_last_longer(path: Path) -> None:
    held = claim(path, ttl_s=1)
    assert lease.renew(path.parent, path.name, held).expires_at > held.expires_at + 40


@pytest.mark.parametrize("what", ["older OpenHands", None])
def test_what_is_no_conversation_gets_no_lease(root: Path, what: str | None) -> None:
    path = root / make_id(2)
    if what is None:
        path.mkdir()
    else:
        make_foreign(path, what)
    before = details_in(path)
    with pytest.raises(ConversationNotFound, match="is not a conversation; it was not changed"):
        claim(path, force=True)
    assert details_in(path) == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("names", [(LEASE,), (LEASE, LAST_LEASE)])
def test_a_lease_that_cannot_be_read_is_not_taken_from_its_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], number: int
) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        lease.claim(root, path.name, ME)
        theirs = {"owner_instance_id": "agent-server", "generation": 7, "expires_at": time.time() + 60}
        (path / LEASE).write_text(json.dumps(theirs))
        with (
            refused(monkeypatch, number, *names),
            pytest.raises(WriteFailed, match="so the conversation's owner is unknown"),
        ):
            lease.claim(root, path.name, ME)
    assert json.loads((path / LEASE).read_text()) == theirs


def test_an_owner_whose_lease_cannot_be_read_has_not_lost_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        mine = lease.claim(root, path.name, ME).lease
        with (
            refused(monkeypatch, errno.EMFILE, LEASE, LAST_LEASE),
            pytest.raises(WriteFailed, match="so the conversation's owner is unknown"),
        ):
            lease.check_lease(root, path.name, mine)
        assert lease.check_lease(root, path.name, mine) == mine


def test_a_claim_that_cannot_be_shared_leaves_the_lease_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        with refused(monkeypatch, errno.EMFILE, LAST_LEASE, mode=os.O_RDWR), pytest.raises(WriteFailed):
            lease.claim(root, path.name, ME, shared=True)
        assert lease.find_holder(root, path.name) is None
