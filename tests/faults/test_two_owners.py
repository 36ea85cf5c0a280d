"""Two processes that both want to write: one owner at a time, however slow, stopped, robbed or killed the other is."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from app.errors import ConversationOwned
from app.files import lease
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id, names_in, second_process
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
ATTEMPTS = pytest.mark.parametrize("attempts", [500, pytest.param(10_000, marks=pytest.mark.long)])
_LATE_S = 3600.0

# Owns a conversation, and once it is told goes on appending to it.
OWNER = """
import asyncio, sys
from app import ConversationStore, Settings
from app.errors import OwnershipLost
from tests.builders import make_event, make_id

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store, store.writer(make_id(1)) as conversation:
        await conversation.append(make_event(5))
        print("mine", flush=True)
        attempts, refused = int(sys.stdin.readline()), 0
        for number in range(attempts):
            try:
                await conversation.append(make_event(100 + number))
            except OwnershipLost:
                refused += 1
        print(refused, flush=True)

asyncio.run(main())
"""

# Claims the lease with agent-server's own code, a minute later.
AGENT_SERVER = """
import sys, time
from pathlib import Path
now = time.time
time.time = lambda: now() + 60.0
from openhands.agent_server.conversation_lease import ConversationLease
claimed = ConversationLease(conversation_dir=Path(sys.argv[1]), owner_instance_id="an-agent-server").claim()
print(claimed.generation, claimed.takeover)
"""


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be an hour later than the others, long after their leases' time."""
    now = time.time
    monkeypatch.setattr("app.files.lease.time.time", lambda: now() + _LATE_S)


@pytest.mark.usefixtures("late")
async def test_a_second_is_refused_while_the_first_lives_also_when_it_is_stopped(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    with second_process(OWNER, root) as first:
        assert first.hear() == "mine"
        async with open_store(root) as store:
            for signal in ("CONT", "STOP"):
                first.signal(signal)
                with pytest.raises(ConversationOwned):
                    async with store.writer(ONE):
                        pass
                with pytest.raises(ConversationOwned):
                    await store.delete(ONE)
                with pytest.raises(ConversationOwned):
                    await store.claim(ONE, "a client", ttl_s=60)
    assert len(list((root / ONE / "events").glob("event-*"))) == 3


@ATTEMPTS
async def test_all_attempts_of_one_that_was_taken_over_by_force_are_refused(
    root: Path, open_store: StoreOpener, attempts: int
) -> None:
    path = make_conversation(root)
    with second_process(OWNER, root) as first:
        assert first.hear() == "mine"
        first.signal("STOP")
        async with open_store(root) as store:
            async with store.writer(ONE, force=True) as conversation:
                await conversation.append(make_event(6))
                before = names_in(path / "events")
                first.signal("CONT")
                first.say(str(attempts))
                assert first.hear() == str(attempts)
                assert names_in(path / "events") == before
                assert (await conversation.append(make_event(7))).seq == 4
            assert await store.verify() == []


@ATTEMPTS
@pytest.mark.skipif("OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-agent-server was given")
def test_all_attempts_of_one_that_an_agent_server_took_over_are_refused(root: Path, attempts: int) -> None:
    path = make_conversation(root)
    with second_process(OWNER, root) as first:
        assert first.hear() == "mine"
        first.signal("STOP")
        command = [os.environ["OPENHANDS_PYTHON"], "-c", AGENT_SERVER, str(path)]
        claimed = subprocess.run(command, capture_output=True, text=True, check=True)
        assert claimed.stdout.split()[-2:] == ["2", "True"]
        before = names_in(path / "events")
        first.signal("CONT")
        first.say(str(attempts))
        assert first.hear() == str(attempts)
        assert names_in(path / "events") == before
        holder = lease.find_holder(root, ONE)
        assert holder is not None
        assert (holder.owner, holder.generation) == ("an-agent-server", 2)


async def test_after_a_kill_the_next_claim_does_not_wait_for_the_end_of_the_lease(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        with second_process(OWNER, root) as first:
            assert first.hear() == "mine"
            first.kill()
            began = time.monotonic()
            async with store.writer(ONE) as conversation:
                took_s = time.monotonic() - began
                assert (await conversation.append(make_event(6))).seq == 3
    assert took_s < lease.TTL_S / 4
