"""ConversationStore: what is asked of it before anything is written, and the lease that it lends to a client."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConversationNotFound, ConversationOwned, NotInTrash, OwnershipLost
from app.model.ids import ConversationId
from tests.builders import details_in, make_conversation, make_event, make_id
from tests.conftest import StoreOpener

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))


async def test_a_client_that_was_lent_a_conversation_alone_writes_until_it_gives_it_back(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        lent = await store.claim(ONE, "a client", ttl_s=60)
        with pytest.raises(ConversationOwned):
            async with store.writer(ONE):
                pass
        longer = await store.renew(ONE, lent, ttl_s=600)
        assert longer.expires_at > lent.expires_at + 500
        async with store.writer(ONE, held=longer) as conversation:
            assert (await conversation.append(make_event(2))).seq == 2
        await store.release(ONE, longer)
        with pytest.raises(OwnershipLost):
            await store.renew(ONE, longer, ttl_s=600)
        async with store.writer(ONE) as conversation:
            assert (await conversation.append(make_event(3))).seq == 3


async def test_asking_whether_something_could_be_done_changes_nothing(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    before = details_in(path)
    async with open_store(root) as store:
        await store.require_deletable(ONE)
        await store.require_writable(ONE)
        for asked in (store.require_deletable(TWO), store.require_writable(TWO)):
            with pytest.raises(ConversationNotFound):
                await asked
        with pytest.raises(NotInTrash):
            await store.require_restorable(ONE)
        assert await store.recover(end_runs=True, dry_run=True) == ([], [])
    assert details_in(path) == before
