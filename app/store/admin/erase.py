"""Erasing conversations or events from files, trash and index; and a search of the raw bytes as proof."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...files import event_erasure, trash
from ...files.layout import ConversationDir
from ...index import messages
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


class Erased(NamedTuple):
    """The result of an erasure.

    `still_in` are the files that still contain one of the erased texts. `forks` are the conversations that were forked
    from an erased one, and so have copies of its events. `searched` is the number of texts that were searched for.
    `log_empty` is false if the write-ahead log of the index could not be emptied, because another process was reading.
    """

    ids: list[ConversationId]
    still_in: list[str]
    forks: list[ConversationId]
    searched: int
    log_empty: bool

    @property
    def is_complete(self) -> bool:
        """Whether no erased text was found again."""
        return self.log_empty and not self.still_in


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
        WriteFailed: a file could not be removed.
    """
    root = store.context.root
    await require_erasable(store, ids, force=force)
    forks = [one for source in ids for one in await _list_forks(store, source) if one not in ids]
    needles: dict[str, None] = {}
    for one in ids:
        directory = await find_directory(store.context, one)
        found = [entry for entry in await asyncio.to_thread(trash.list_trash, root) if entry.id == one]
        held = [root / trash.TRASH / entry.name for entry in found] + ([root / directory] if directory else [])
        needles |= await asyncio.to_thread(_choose_needles, held)
        if directory is not None:
            await store.delete(one, permanent=True, force=force)
        for entry in found:
            await asyncio.to_thread(trash.remove, root, entry)
    return await _purge(store, ids, forks, _spread(needles), places)


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
        DiskFull, WriteFailed: writing failed; the event is unchanged.
    """
    instance = await store.close_conversation(conversation_id)
    directory = await get_directory(store.context, conversation_id)
    root = store.context.root
    write = partial(event_erasure.erase_event, root, directory, instance, event_id, force=force)
    texts = await asyncio.to_thread(write)
    await store.rewrite_rows(ConversationDir(directory, conversation_id))
    forks = await _list_forks(store, conversation_id)
    needles = dict.fromkeys(filter(None, map(_choose_needle, texts)))
    return await _purge(store, [conversation_id], forks, _spread(needles), [root / directory, *places])


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
) -> Erased:
    index = store.index
    await asyncio.to_thread(remove_exports, store.settings.state_dir / EXPORTS)
    log_empty = await index.purge()
    beside = index.list_files()
    paths = [*beside, str(store.context.root / trash.TRASH), *map(str, places)]
    found = await asyncio.to_thread(_search, paths, [needle.encode(errors="replace") for needle in needles])
    own = {path for path in found if path in beside and not path.endswith(".backup") and ".damaged-" not in path}
    shared = set()
    for number in {number for path in own for number in found[path]}:
        if await index.write(partial(messages.find_holder, part=needles[number])):  # another conversation says the same
            shared.add(number)
    still_in = [path for path, numbers in found.items() if path not in own or set(numbers) - shared]
    return Erased(list(ids), sorted(still_in), forks, len(needles), log_empty)


def _search(paths: Sequence[str], needles: Sequence[bytes]) -> dict[str, list[int]]:
    """Search in another process, because this process has the index open."""
    with ProcessPoolExecutor(1, Spawn(), initializer=die_with_parent) as executor:
        return executor.submit(find_in_files, paths, needles).result()
