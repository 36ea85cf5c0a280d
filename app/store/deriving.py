"""By what rows are derived from files: the version of this program, and the settings that decide what rows say."""

from __future__ import annotations

import asyncio
import time

from app.files.scan import Reader
from app.index import conversations, events, progress
from app.index.engine import Index
from app.model.conversation import VERSIONS
from app.store.duty import is_followed


def describe_derivation(reader: Reader) -> str:
    """Return what differs where the same files make other rows."""
    zone = str(reader.zone) if reader.zone else "host:" + "/".join(time.tzname)
    tools = "tools" if reader.tools else ""
    return f"{VERSIONS}:{tools}:{zone}"


async def find_other_derivation(index: Index, reader: Reader) -> str | None:
    """Return by what the process that looks after this index derives its rows, when that is not how it is done here.

    Whoever would read all conversations again then, and write rows that the other does not expect, had better not.
    """
    async with index.read() as connection:
        before = (await progress.get_progress(connection)).derived_by
    if before in (None, progress.RECOVERING, describe_derivation(reader)):
        return None
    return before if await asyncio.to_thread(is_followed, index.path) else None


async def forget_what_others_derived(index: Index, reader: Reader) -> str | None:
    """Have everything read again when another version of this program, or another setting, made the rows.

    Where the index does not know all conversations yet, return what is to be noted once it does.
    """
    derived_by = describe_derivation(reader)
    opened = index.opened
    async with index.read() as connection:
        before = (await progress.get_progress(connection)).derived_by
    if before == derived_by:
        return None
    if before == progress.RECOVERING:
        return derived_by
    async with index.write(read_from=opened) as connection:
        await conversations.distrust_all(connection)
        await events.delete_all(connection)
        await progress.set_progress(connection, derived_by=derived_by)
    return None
