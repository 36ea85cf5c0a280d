"""Deleting: what is done on disk, and what is left alone, when the index says otherwise than the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConversationNotFound, DirectoryTaken
from app.files import trash
from app.model.ids import ConversationId, dashed
from tests.builders import NEW_CONVERSATION, details_in, make_conversation, make_foreign, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


async def test_what_took_the_place_of_a_listed_conversation_is_not_touched(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        path.rename(root.parent / "away")
        make_foreign(path, "older OpenHands")
        before = details_in(path)
        for work in (store.delete(ONE, permanent=True, force=True), store.repair(ONE), store.mark(ONE, pinned=True)):
            with pytest.raises(ConversationNotFound):
                await work
        with pytest.raises(ConversationNotFound):
            async with store.writer(ONE):
                pass
        with pytest.raises(DirectoryTaken):
            await store.create(NEW_CONVERSATION | {"conversation_id": ONE})
    assert details_in(path) == before


async def test_a_conversation_that_was_renamed_under_a_ghost_is_the_one_deleted(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        path.rename(root / dashed(ONE))
        (path / "events").mkdir(parents=True)
        await store.delete(ONE)
    assert path.exists()
    assert not (root / dashed(ONE)).exists()


async def test_what_another_program_deleted_again_meanwhile_is_restored(root: Path, open_store: StoreOpener) -> None:
    first = trash.move_to_trash(root, make_conversation(root, 1).name, 1)
    async with open_store(root) as store:
        deleted = await store.list_last_deleted()
        trash.restore(root, first)
        trash.move_to_trash(root, ONE, 2)
        await store.restore(ONE, deleted=deleted)
    assert (trash.list_trash(root), (root / ONE).is_dir()) == ([], True)
