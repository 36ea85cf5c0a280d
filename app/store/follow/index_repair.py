"""Index repair: replaces or reopens a damaged, deleted or replaced index while the server keeps answering."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from ...errors import IndexBusy, IndexDamaged, StoreError, StoreUnavailable
from ...files import layout
from ...index.sqlite import migrations, open_lock
from ...index.sqlite.database import Index
from ...index.sqlite.index_file import find_identity, make_directory
from ...index.sqlite.migrations import HEAD, read_revision
from ...index.sqlite.replace_index import is_marked_damaged, replace_damaged
from ...index.sqlite.schema_shape import require_shape
from ..context import StoreContext

log = logging.getLogger(__name__)

_OPENINGS = 3
_LOOK_S = 0.5
_REST_S = 20.0
"""The seconds after a replacement during which an index is not replaced again."""


async def open_index(index: Index, timeout_s: float) -> None:
    """Make or upgrade an index, and open it. A damaged one is set aside, and an empty one takes its place."""
    path = index.path
    await asyncio.to_thread(make_directory, path)
    damaged = find_identity(path)
    try:
        if is_marked_damaged(path):
            await replace_damaged(path, damaged)
        await _open_migrated(index, timeout_s)
        await index.refresh_rebuilding()
    except IndexDamaged as error:
        log.warning("%s", error)
        await index.close()
        await replace_damaged(path, damaged)
        await index.open()
        await index.refresh_rebuilding()


async def _open_migrated(index: Index, wait_s: float) -> None:
    """Migrate an index to the schema of this program if it has an older one, and open it."""
    for _ in range(_OPENINGS):
        if await asyncio.to_thread(read_revision, index.path) != HEAD:
            emptied = await asyncio.to_thread(_is_emptied, index.path)
            await asyncio.to_thread(migrations.upgrade, index.path, wait_s=wait_s)
            if emptied:
                await asyncio.to_thread(migrations.mark_recovering, index.path)
        await index.open()
        if await asyncio.to_thread(read_revision, index.path) == HEAD:
            async with index.read() as connection:
                await require_shape(connection, index.path)
            return
        await index.close()
    raise IndexBusy(
        f"the schema of the index {index.path} keeps changing, so another program is migrating it; try again later"
    )


def _is_emptied(path: Path) -> bool:
    """Whether an index file was truncated to 0 bytes. False if another process is just creating it."""
    try:
        if path.exists() and path.stat().st_size == 0:
            with open_lock.hold_alone(path, 0):
                return path.stat().st_size == 0
    except IndexBusy:
        pass  # another process is creating it
    return False


async def keep_usable(context: StoreContext) -> None:
    """Check continuously that the conversations exist and the index is usable; otherwise replace or reopen it."""
    index = context.index
    replaced_at = -_REST_S
    logged = ""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            await context.presence.refresh(index)
            if index.damaged or await asyncio.to_thread(_is_unusable, index):
                if time.monotonic() - replaced_at >= _REST_S:
                    replaced_at = time.monotonic()
                    await replace_unusable(context)
                    logged = ""
            elif index.rebuilding or index.building:
                await index.refresh_rebuilding()
        except (StoreError, OSError) as error:
            if str(error) != logged:
                logged = str(error)
                log.error("the index cannot be repaired; trying again: %s", logged)  # noqa: TRY400
            replaced_at = time.monotonic() - _REST_S + 2 * _LOOK_S


def _is_unusable(index: Index) -> bool:
    return is_marked_damaged(index.path) or index.is_out_of_place()


async def replace_unusable(context: StoreContext) -> None:
    """Close the index, replace it with an empty one if it is damaged or missing, and open it again.

    Raises:
        StoreUnavailable: the conversations directory is missing too; an empty index would list no conversations.
        IndexUnusable: the index cannot be replaced now.
    """
    index = context.index
    await asyncio.to_thread(_require_store, context.root, index.path)
    damaged = index.opened
    async with index.closed():
        if index.opened == damaged:  # otherwise another task of this process was faster
            await replace_damaged(index.path, damaged)
    await index.refresh_rebuilding()


def _require_store(root: Path, path: Path) -> None:
    if not os.path.isdir(root) or not (path.parent.is_dir() or layout.has_conversations(root)):  # noqa: PTH112
        raise StoreUnavailable(f"the conversations directory {root} is missing or suddenly empty; mount or restore it")
