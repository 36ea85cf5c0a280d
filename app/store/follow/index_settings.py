"""The settings that the rows of an index were made with: the program's version, the time zone, and tools.

The index stores them as one text, its derivation.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...errors import IndexBusy
from ...files.metadata_reader import Reader
from ...index import conversation_rows, event_rows, state
from ...index.connections import WriteConnection
from ...index.engine import Index
from ...model.conversation import VERSIONS
from ...settings import Settings
from ..context import StoreContext, make_reader
from .leader import has_leader_elsewhere


def describe_derivation(reader: Reader) -> str:
    """Return the derivation as text. Two texts differ if the same files may yield different rows."""
    return f"{VERSIONS}:{'tools' if reader.tools else ''}:{_name_of(reader.zone)}"


def _name_of(zone: tzinfo | None) -> str:
    """Return the name of a zone.

    None yields the name of the host's zone, so that other hosts and programs can use it.
    """
    if zone is not None:
        return str(zone)
    if {*time.tzname} == {"UTC"}:
        return "UTC"
    name = os.environ.get("TZ", "").lstrip(":") or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    with suppress(ZoneInfoNotFoundError, ValueError):
        return str(ZoneInfo(name))
    return "host:" + "/".join(time.tzname)


async def adopt_index_settings(context: StoreContext) -> None:
    """Use the time zone and tool setting that the index was built with, so that new rows agree with the others.

    The settings of this process are used if the index is empty, or if there is no leader and the index's derivation is
    unknown to this version. A full sync uses `make_sync_context` instead.

    Raises:
        IndexBusy: another process is the leader, and its derivation is unknown to this version.
    """
    async with context.index.read() as connection:
        derived_by = (await state.get_state(connection)).derived_by
    if derived_by in (None, state.RECOVERING, describe_derivation(context.reader)):
        return
    version, _, settings = derived_by.partition(":")
    tools, _, zone = settings.partition(":")
    with suppress(ZoneInfoNotFoundError, ValueError):
        if version == VERSIONS:
            index_zone = None if zone == _name_of(None) else ZoneInfo(zone)
            context.read_as(replace(context.reader, zone=index_zone, tools=tools == "tools"))
            return
    if await asyncio.to_thread(has_leader_elsewhere, context.index):
        raise IndexBusy(
            f"a server of another version, or in an unnamed time zone, keeps this index up to date ({derived_by}); "
            "restart it, set CONVSTORE_TIMEZONE for it, or stop it. With --no-sync, the index is used as it is"
        )


async def make_sync_context(index: Index, settings: Settings) -> StoreContext:
    """Return a context with the settings' derivation, or with the index's if another process is the leader.

    Raises:
        IndexBusy: another process is the leader, and its derivation is unknown to this version.
    """
    context = StoreContext(index, make_reader(settings))
    if await asyncio.to_thread(has_leader_elsewhere, index):
        await adopt_index_settings(context)
    return context


async def invalidate_other_derivations(context: StoreContext) -> str | None:
    """Mark all rows for reading if another version of this program or another setting made them.

    While the index replaces a damaged one and is incomplete, return instead the derivation to write at the end.
    """
    derived_by = describe_derivation(context.reader)
    opened = context.index.opened
    async with context.index.read() as connection:
        before = (await state.get_state(connection)).derived_by
    if before == derived_by:
        return None
    if before == state.RECOVERING:
        return derived_by
    await context.index.write(partial(_invalidate, derived_by=derived_by), read_from=opened)
    return None


def _invalidate(connection: WriteConnection, derived_by: str) -> None:
    if state.get_derivation_to_write(connection) == derived_by:  # the first rows of the index were just written
        return
    conversation_rows.invalidate_all(connection)
    event_rows.delete_all(connection)
    state.set_state(connection, derived_by=derived_by)


def record_derivation(connection: WriteConnection, reader: Reader) -> None:
    """Record the derivation of the first rows of an index. Called before they are written, in the same transaction.

    Otherwise the first sync would delete the event rows that requests wrote before it, because it could not know
    that they are valid. A client that reads the events then would miss them, or get them twice.
    """
    if state.get_derivation_to_write(connection) is None and not conversation_rows.has_any(connection):
        state.set_state(connection, derived_by=describe_derivation(reader))
