"""Erasing conversations or events from files, trash and index; and a search of the raw bytes as proof."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import IndexBusy, IndexUnusable
from ...files import event_erasure, trash
from ...files.layout import ConversationDir
from ...files.trash import TrashEntry
from ...index import messages
from ...index.connections import WriteConnection
from ...model.filters import ConversationFilter
from ...model.ids import ConversationId
from ...processes import Spawn, die_with_parent
from ...raw_search import find_in_files
from ..read.lookup import find_directory, get_directory
from ..store import ConversationStore
from .export_files import EXPORTS, remove_exports

_NEEDLES_MAX = 300
_find_plain = re.compile(r"[A-Za-z0-9 ,.:;_/()=+-]{20,64}").search
_SHORT_BYTES = 12
_MAY_REMAIN = "the files are erased, but the index may still have their texts"
_REST = "`convstore index rebuild` removes the rest"


class Erased(NamedTuple):
    """The result of an erasure.

    `still_in` are the files that still contain one of the erased texts. `forks` are the conversations that were forked
    from an erased one, and so have copies of its events. `searched` is the number of texts that were searched for.
    `log_empty` is false if the write-ahead log of the index could not be emptied, because another process was reading.
    `warning` says that the files are erased, but the index could not be changed.
    """

    ids: list[ConversationId]
    still_in: list[str]
    forks: list[ConversationId]
    searched: int
    log_empty: bool
    warning: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no erased text was found again."""
        return self.log_empty and not self.still_in and self.warning is None


async def require_erasable(store: ConversationStore, ids: Iterable[ConversationId], *, force: bool) -> None:
    """Raise the errors of `erase_conversations` without making a change."""
    deleted = await store.list_last_deleted()
    for one in ids:
        if one not in deleted or await find_directory(store.context, one) is not None:
            await store.require_deletable(one, force=force)


async def erase_conversations(
    store: ConversationStore, ids: Sequence[ConversationId], *, force: bool = False, places: Sequence[Path] = ()
) -> Erased:
    """Remove conversations for good, also from the trash, and every trace of their texts from the index.

    Then search for their texts in the index's files, the backups beside it, the trash, and in `places`.

    Raises:
        ConversationNotFound: no conversation has one of the ids, neither on disk nor in the trash.
        ConversationOwned: another owner is alive, and `force` is false.
        IndexBusy, IndexUnusable: the index cannot be changed now; nothing was erased.
        WriteFailed: a file could not be removed.
    """
    root = store.context.root
    await require_erasable(store, ids, force=force)
    await store.index.write(_change_nothing)
    forks = [one for source in ids for one in await _list_forks(store, source) if one not in ids]
    needles: dict[str, None] = {}
    deleted = await _list_deleted(root)
    warning = None
    for one in ids:
        directory = await find_directory(store.context, one)
        if directory is None and one not in deleted:
            deleted = await _list_deleted(root)
        found = deleted.get(one, [])
        held = [root / trash.TRASH / entry.name for entry in found] + ([root / directory] if directory else [])
        needles |= await asyncio.to_thread(_choose_needles, held)
        if directory is not None:
            late = (await store.delete(one, permanent=True, force=force)).warning
            warning = f"{_MAY_REMAIN}: {late}. {_REST}" if late else warning
        for entry in found:
            await asyncio.to_thread(trash.remove, root, entry)
    for one, entries in (await _list_deleted(root)).items():  # moved to the trash meanwhile
        for entry in entries if one in ids else []:
            await asyncio.to_thread(trash.remove, root, entry)
    return await _purge(store, ids, forks, _spread(needles), places, warning)


def _change_nothing(_: WriteConnection) -> None:
    """Do nothing in a transaction, which shows whether the index can be changed."""


async def _list_deleted(root: Path) -> dict[ConversationId, list[TrashEntry]]:
    deleted: dict[ConversationId, list[TrashEntry]] = {}
    for entry in await asyncio.to_thread(trash.list_trash, root):
        deleted.setdefault(entry.id, []).append(entry)
    return deleted


async def erase_event(
    store: ConversationStore,
    conversation_id: ConversationId,
    event_id: str,
    *,
    force: bool = False,
    places: Sequence[Path] = (),
) -> Erased:
    """Replace the texts of one event. The event keeps its place, its id, its time and its kind.

    Then search for its texts as `erase_conversations` does, and in the conversation itself.

    Raises:
        ConversationNotFound, EventNotFound: there is no such conversation, or no readable event with this id.
        ConversationOwned: another owner is alive, and `force` is false.
        IndexBusy, IndexUnusable: the index cannot be changed now; nothing was erased.
        DiskFull, WriteFailed: writing failed; the event is unchanged.
    """
    await store.index.write(_change_nothing)
    instance = await store.close_conversation(conversation_id)
    directory = await get_directory(store.context, conversation_id)
    root = store.context.root
    forks = await _list_forks(store, conversation_id)
    write = partial(event_erasure.erase_event, root, directory, instance, event_id, force=force)
    texts = await asyncio.to_thread(write)
    done = await store.rewrite_rows(ConversationDir(directory, conversation_id))
    needles = dict.fromkeys(filter(None, map(_choose_needle, texts)))
    return await _purge(store, [conversation_id], forks, _spread(needles), [root / directory, *places], done.warning)


async def _list_forks(store: ConversationStore, source: ConversationId) -> list[ConversationId]:
    return await store.list_ids(ConversationFilter(forked_from=source, archived=None, subagents=None))


def _choose_needles(directories: Iterable[Path]) -> dict[str, None]:
    texts = (text for directory in directories for text in event_erasure.list_texts(directory))
    return dict.fromkeys(filter(None, map(_choose_needle, texts)))


def _choose_needle(text: str) -> str | None:
    """Return a part of a text that has the same bytes in a JSON file and in the index; None if the text is short."""
    plain = _find_plain(text)
    if plain is not None:
        return plain[0]
    first = text.split("\n", 1)[0][:32]
    is_plain = not set(first) & set('"\\\t\r')
    return first if is_plain and len(first.encode(errors="replace")) >= _SHORT_BYTES else None


def _spread(needles: dict[str, None]) -> list[str]:
    """Return at most `_NEEDLES_MAX` needles, evenly chosen."""
    every = list(needles)
    return every[:: -(-len(every) // _NEEDLES_MAX)] if every else []


async def _purge(
    store: ConversationStore,
    ids: Sequence[ConversationId],
    forks: list[ConversationId],
    needles: list[str],
    places: Sequence[Path],
    warning: str | None,
) -> Erased:
    index = store.index
    await asyncio.to_thread(remove_exports, store.settings.state_dir / EXPORTS)
    log_empty = False
    try:
        log_empty = await index.purge()
    except (IndexBusy, IndexUnusable) as error:
        warning = f"{_MAY_REMAIN}: {error}. {_REST}"
    beside = index.list_files()
    paths = [*beside, str(store.context.root / trash.TRASH), *map(str, places)]
    found = await asyncio.to_thread(_search, paths, [needle.encode(errors="replace") for needle in needles])
    own = {path for path in found if path in beside and not path.endswith(".backup") and ".damaged-" not in path}
    shared = set()
    for number in {number for path in own for number in found[path]}:
        with suppress(IndexBusy, IndexUnusable):
            if await index.write(partial(messages.find_holder, part=needles[number])):
                shared.add(number)  # another conversation says the same
    still_in = [path for path, numbers in found.items() if path not in own or set(numbers) - shared]
    return Erased(list(ids), sorted(still_in), forks, len(needles), log_empty, warning)


def _search(paths: Sequence[str], needles: Sequence[bytes]) -> dict[str, list[int]]:
    """Search in another process, because this process has the index open."""
    with ProcessPoolExecutor(1, Spawn(), initializer=die_with_parent) as executor:
        return executor.submit(find_in_files, paths, needles).result()
