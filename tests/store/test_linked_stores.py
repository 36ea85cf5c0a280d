"""A store whose path has a symbolic link in it, as when `~/.openhands` is on another disk, works like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import Settings
from app.model.archive_format import ExportFormat
from app.store.follow.watcher import Watcher
from tests.builders import make_conversation, make_event, names_in
from tests.conftest import StoreOpener
from tests.store.admin.importing import exported, imported, written
from tests.store.helpers import ONE, is_rebuilt_equal, listed, log_of

REQUEST = {
    "workspace": {"kind": "LocalWorkspace", "working_dir": "/w"},
    "agent": {"kind": "Agent", "llm": {"model": "m"}},
}


@pytest.fixture(params=["is a link", "is below a link", "is a link to a link"])
def linked(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Path:
    """Another path of the store `root`, with a link in it."""
    link = tmp_path / "link"
    if request.param == "is below a link":
        link.symlink_to(root.parent)
        return link / root.name
    (tmp_path / "second").symlink_to(root)
    link.symlink_to("second" if request.param == "is a link to a link" else root)
    return link


async def test_everything_that_writes_works(linked: Path, root: Path, tmp_path: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(linked) as store:
        created = await store.create(REQUEST)
        forked = await store.fork(ONE)
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(7))
        assert len(log_of(root / ONE)) == 3
        await store.delete(created.id)
        await store.restore(created.id)
        await store.delete(forked.id, permanent=True)
        archive = written(tmp_path / "all.zip", await exported(store, ExportFormat.ZIP, with_secrets=True))
        await store.delete(ONE)
        await imported(store, archive)
        assert {*await listed(store)} == {ONE, created.id}
        assert [one.id async for one in store.empty_trash(2**62)] == [ONE]
        assert await is_rebuilt_equal(store)
    assert {ONE, created.id} <= {*names_in(root)}


async def test_a_change_by_another_program_is_followed(linked: Path, root: Path, open_store: StoreOpener) -> None:
    async with open_store(linked) as store:
        watcher = Watcher(store.context)
        await watcher.tick()
        make_conversation(root)
        assert await watcher.tick() == 1


async def test_two_processes_agree_whichever_way_the_path_is_written(
    linked: Path, root: Path, open_store: StoreOpener
) -> None:
    async with open_store(linked) as one, open_store(root) as other:
        assert one.index.name == other.index.name
        created = await one.create(REQUEST)
        assert {*await listed(other)} == {created.id}
        assert Settings(store=linked).as_environment()["CONVSTORE_STORE"] == str(root)


@pytest.mark.parametrize("kind", ["index.db", ".convstore"])
async def test_an_index_behind_a_link_is_one_index(
    root: Path, tmp_path: Path, open_store: StoreOpener, kind: str
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    inside = root / ".convstore" / "index.db" if kind == "index.db" else root / ".convstore"
    inside.rename(away / kind)
    inside.symlink_to(away / kind)
    make_conversation(root)
    file = away / kind if kind == "index.db" else away / kind / "index.db"
    async with open_store(root) as one, open_store(root, index_url=f"sqlite:///{file}") as other:
        assert one.index.name == other.index.name
        assert Settings(store=root).key_path == root / ".convstore" / "api-key"
