"""What the fault machinery interrupts: each way to write, on a small store with fixed ids and times.

Two conversations are there, a third in the trash, a fourth in an archive beside the store.

`looks` tells all that a user can see of a store, so that "before" and "after" can be compared whole.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from app import ConversationStore, Settings
from app.errors import ConversationExists, ConversationNotFound, EventExists, EventNotFound, NotInTrash
from app.files import fingerprint, trash
from app.index.sqlite import migrations
from app.model.archive_format import OWN_ARCHIVE
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId
from app.store.admin.archive_import import import_conversations
from app.store.follow.rebuild import rebuild
from app.store.follow.verify import verify
from tests.builders import index_path, make_conversation, make_event, make_id

ID = ConversationId(make_id(1))
_IN_TRASH = ConversationId(make_id(3))
_IN_ARCHIVE = ConversationId(make_id(4))
_NEW = ConversationId(make_id(5))
_REQUEST = {
    "conversation_id": _NEW,
    "agent": {"llm": {"model": "a/model"}},
    "workspace": {"working_dir": "/home/dev/project"},
}
_BATCH = 3
_OLDEST = "0001"
_MOVES = ("updated_at", "last_event_at")

Act = Callable[[ConversationStore], Awaitable[None]]


async def _append(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        with _done_before(EventExists):
            await conversation.append(make_event(5000))  # later than meta.json says, so that closing saves it


async def _append_batch(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        for number in range(_BATCH):
            if not await _has(store, make_event(60 + number)["id"]):
                await conversation.append_batch([make_event(60 + n) for n in range(number, _BATCH)])
                return


async def _set_state(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        await conversation.set_status(Status.PAUSED)


async def _set_title(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        await conversation.set_title("Another title")


async def _set_tags(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        await conversation.set_tags({"area": "faults"})


async def _navigate(store: ConversationStore) -> None:
    async with store.writer(ID) as conversation:
        await conversation.navigate(make_event(0)["id"])


async def _create(store: ConversationStore) -> None:
    assert (await store.create(_REQUEST))[0] == _NEW


async def _fork(store: ConversationStore) -> None:
    with _done_before(ConversationExists):
        await store.fork(ID, fork_id=_NEW)


async def _delete(store: ConversationStore) -> None:
    with _done_before(ConversationNotFound):
        await store.delete(ID)


async def _restore(store: ConversationStore) -> None:
    with _done_before(NotInTrash):
        await store.restore(_IN_TRASH)


async def _import(store: ConversationStore) -> None:
    archive = store.settings.root / ".archive"
    await import_conversations(store, [archive], OWN_ARCHIVE)


async def _sync(store: ConversationStore) -> None:
    await store.sync()


async def _rebuild(store: ConversationStore) -> None:
    await rebuild(store.settings, lambda *_: None)


def upgrade(root: Path) -> None:
    """Bring the index from its oldest schema to the newest."""
    migrations.upgrade(index_path(root))


def make_old(root: Path) -> None:
    """Bring the index to its oldest schema."""
    migrations.downgrade(index_path(root), _OLDEST)


@contextmanager
def _done_before(error: type[Exception]) -> Iterator[None]:
    """Take for done what an attempt that failed had done before."""
    try:
        yield
    except error:
        return


async def _has(store: ConversationStore, event_id: str) -> bool:
    try:
        await store.get_event(ID, event_id)
    except EventNotFound:
        return False
    return True


OPERATIONS: dict[str, Act] = {
    "append": _append,
    "append a batch": _append_batch,
    "set the state": _set_state,
    "set the title": _set_title,
    "set the tags": _set_tags,
    "navigate": _navigate,
    "create": _create,
    "fork": _fork,
    "delete": _delete,
    "restore": _restore,
    "import": _import,
    "sync": _sync,
    "rebuild": _rebuild,
}

UPGRADE = "upgrade"
"""One more operation, which has the store to itself."""

ALL = [*OPERATIONS, UPGRADE]

IN_STEPS = {"append a batch"}
"""Operations that a crash may leave in the middle: some first events of a batch."""


def settle_clock() -> None:
    """Let files look a minute old to this process, so that their signatures are trusted at once."""
    setattr(fingerprint, "time_ns", lambda: time.time_ns() + 60_000_000_000)  # noqa: B010 - it is imported there, not exported


def make_store(root: Path, template: Path) -> None:
    """Write the store that every operation begins with."""
    (root / ".convstore").mkdir(parents=True)
    migrations.upgrade(template)
    shutil.copyfile(template, root / ".convstore" / "index.db")
    for number, events in ((1, 3), (2, 1)):
        _make(root, number, events)
    _make(root, 3, 2)
    trash.move_to_trash(root, _IN_TRASH, 1_790_000_000_000_000)
    _make(root / ".archive", 4, 2)


def _make(root: Path, number: int, events: int) -> None:
    make_conversation(root, number, state={"leaf_event_id": make_event(events - 1)["id"]}, events=events)


async def looks(root: Path) -> dict[str, Any]:
    """Open a store as if for the next write, which repairs it, and return what it shows.

    Raises:
        AssertionError: index and files differ, or something is left that a crash should not leave.
    """
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        for conversation_id in await store.list_ids(ConversationFilter()):
            async with store.writer(conversation_id):
                pass
        await store.sync()
        differences = [one async for one in verify(store.context, lambda _done, _total: None)]
        assert differences == [], differences
        infos = [orjson.loads(body) for body in (await store.list_conversations()).items]
        shown: dict[str, Any] = {}
        for info in infos:
            conversation_id = ConversationId(info["id"].replace("-", ""))
            moves = (*_MOVES, "created_at") if conversation_id == _NEW else _MOVES
            facts = {name: value for name, value in info.items() if name not in moves}
            shown[info["id"]] = facts | {"events": await _events(store, conversation_id)}
        shown["trash"] = {"ids": [entry.id for entry in trash.list_trash(root)]}
    left = [path for path in root.rglob("*") if path.name.endswith(".tmp") and ".convstore" not in path.parts]
    assert left == [], left
    return dict(orjson.loads(orjson.dumps(shown).replace(os.fsencode(root), b"ROOT")))


async def _events(store: ConversationStore, conversation_id: ConversationId) -> list[dict[str, Any]]:
    page = await store.list_events(conversation_id)
    assert not page.unreadable, page.unreadable
    return [orjson.loads(event) for event in page.items]
