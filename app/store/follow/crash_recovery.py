"""After a crash: what dead owners had open is read again, nothing else, and runs that were cut off can be ended.

Each conversation is marked in the index, durably, before its first file is written (`app.index.ownership`), so the
marks of owners that live no more tell which these are. Reading them again changes no file of theirs; HEAD and an
unfinished run are put right when one is next opened for writing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from app.files import liveness
from app.files.layout import Named
from app.files.metadata_reader import Reader
from app.index import ownership
from app.index.ownership import Dirty
from app.index.sqlite.database import Index, WriteConnection
from app.model.ids import ConversationId
from app.store.follow.ingest import refresh

log = logging.getLogger(__name__)

_BATCH = 50


class Recovered(NamedTuple):
    """What was read again after a crash, and of which conversations the run was ended."""

    read: list[ConversationId]
    ended: list[ConversationId]


async def read_again(index: Index, reader: Reader) -> list[ConversationId]:
    """Bring in step what dead owners had open, forget that they had, and return it. Reads no other conversation."""
    async with index.read() as connection:
        dirty = await ownership.list_dirty(connection)
    left = await asyncio.to_thread(_of_the_dead, reader.root, dirty)
    for begin in range(0, len(left), _BATCH):
        batch = left[begin : begin + _BATCH]
        await refresh(index, reader, [Named(one.directory, one.id) for one in batch])
        await index.write(partial(_clear_all, batch=batch))
    if left:
        log.info("%d conversations that were open at a crash were read again", len(left))
    return [one.id for one in left]


def _clear_all(connection: WriteConnection, batch: Sequence[Dirty]) -> None:
    for one in batch:
        ownership.clear(connection, one.id, one.owner)


def _of_the_dead(root: Path, dirty: Sequence[Dirty]) -> list[Dirty]:
    living = {owner: liveness.is_living(root, owner) for owner in {one.owner for one in dirty}}
    return [one for one in dirty if not living[one.owner]]
