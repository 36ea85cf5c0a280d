"""By what rows are derived from files: the version of this program, and the settings that decide what rows say."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.errors import IndexBusy
from app.files.metadata_reader import Reader
from app.index import conversation_rows, event_rows, state
from app.index.connections import WriteConnection
from app.index.sqlite.database import Index
from app.model.conversation import VERSIONS
from app.settings import Settings
from app.store.context import StoreContext, make_reader
from app.store.follow.leader import has_leader_elsewhere


def describe_derivation(reader: Reader) -> str:
    """Return what differs where the same files make other rows."""
    return f"{VERSIONS}:{'tools' if reader.tools else ''}:{_describe(reader.zone)}"


def _describe(zone: tzinfo | None) -> str:
    """Return the name of a zone; that of the host's where it has one, so that other hosts and programs know it."""
    if zone is not None:
        return str(zone)
    if {*time.tzname} == {"UTC"}:
        return "UTC"
    name = os.environ.get("TZ", "").lstrip(":") or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    with suppress(ZoneInfoNotFoundError, ValueError):
        return str(ZoneInfo(name))
    return "host:" + "/".join(time.tzname)


async def adopt_index_settings(context: StoreContext) -> None:
    """Have files read from now on as the rows of the index were derived, whatever the settings say.

    So what is written here goes with all the rest. The settings hold where the index knows nothing yet, or nobody
    looks after it and it was made in a way that is not known here; and for a sync, see `StoreReader.sync`.

    Raises:
        IndexBusy: another process looks after the index, and reads in a way that is not known here.
    """
    async with context.index.read() as connection:
        derived_by = (await state.get_state(connection)).derived_by
    if derived_by in (None, state.RECOVERING, describe_derivation(context.reader)):
        return
    version, _, settings = derived_by.partition(":")
    tools, _, zone = settings.partition(":")
    with suppress(ZoneInfoNotFoundError, ValueError):
        if version == VERSIONS:
            read_in = None if zone == _describe(None) else ZoneInfo(zone)
            context.read_as(replace(context.reader, zone=read_in, tools=tools == "tools"))
            return
    if await asyncio.to_thread(has_leader_elsewhere, context.index):
        raise IndexBusy(
            f"a server of another version, or in a time zone without a name, looks after this index ({derived_by}); "
            "restart it, give it a CONVSTORE_TIMEZONE, or stop it. --no-sync answers from the index as it is"
        )


async def make_sync_context(index: Index, settings: Settings) -> StoreContext:
    """Return how all files are to be read: as the settings say, or as another process does that is the leader.

    Raises:
        IndexBusy: how that one does is not known here.
    """
    context = StoreContext(index, make_reader(settings))
    if await asyncio.to_thread(has_leader_elsewhere, index):
        await adopt_index_settings(context)
    return context


async def invalidate_other_derivations(context: StoreContext) -> str | None:
    """Have everything read again when another version of this program, or another setting, made the rows.

    Where the index does not know all conversations yet, return what is to be noted once it does.
    """
    derived_by = describe_derivation(context.reader)
    opened = context.index.opened
    async with context.index.read() as connection:
        before = (await state.get_state(connection)).derived_by
    if before == derived_by:
        return None
    if before == state.RECOVERING:
        return derived_by
    await context.index.write(partial(_forget, derived_by=derived_by), read_from=opened)
    return None


def _forget(connection: WriteConnection, derived_by: str) -> None:
    conversation_rows.invalidate_all(connection)
    event_rows.delete_all(connection)
    state.set_state(connection, derived_by=derived_by)
