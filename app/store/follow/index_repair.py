"""Index repair: a damaged, deleted or replaced index is replaced or reopened while the server goes on answering."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from app.errors import IndexBusy, IndexDamaged, StoreError, StoreUnavailable
from app.files import layout
from app.index.sqlite import migrations, open_lock
from app.index.sqlite.database import Index
from app.index.sqlite.index_file import find_identity, make_directory
from app.index.sqlite.replace_index import is_marked_damaged, replace_damaged
from app.index.sqlite.schema_shape import require_shape
from app.index.sqlite.schema_version import HEAD, read_revision
from app.store.context import StoreContext

log = logging.getLogger(__name__)

_OPENINGS = 3
_LOOK_S = 0.5
_REST_S = 20.0
"""After a replacement, an index that is damaged again is left alone for so long."""


async def open_index(index: Index, timeout_s: float) -> None:
    """Make or upgrade an index, and open it. A damaged one is set aside, and an empty one is made in its place."""
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
    raise IndexBusy(f"the schema of the index {index.path} is being changed again and again; try later")


def _is_emptied(path: Path) -> bool:
    """Whether an index file was truncated to 0 bytes, and is not just being made by another process."""
    try:
        if path.exists() and path.stat().st_size == 0:
            with open_lock.hold_alone(path, 0):
                return path.stat().st_size == 0
    except IndexBusy:
        pass  # another process is making it
    return False


async def keep_usable(context: StoreContext) -> None:
    """Check all the time whether the conversations are there, and the index usable; replace or reopen it if not."""
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
            elif index.rebuilding:
                await index.refresh_rebuilding()
        except (StoreError, OSError) as error:
            if str(error) != logged:
                logged = str(error)
                log.error("the index cannot be put right, trying again: %s", logged)  # noqa: TRY400
            replaced_at = time.monotonic() - _REST_S + 2 * _LOOK_S


def _is_unusable(index: Index) -> bool:
    return is_marked_damaged(index.path) or index.is_out_of_place()


async def replace_unusable(context: StoreContext) -> None:
    """Close the index, put an empty one in its place if it is damaged or gone, and open the index again.

    Raises:
        StoreUnavailable: the conversations directory is gone too; an empty index would list no conversations.
        IndexUnusable: the index cannot be replaced now.
    """
    index = context.index
    await asyncio.to_thread(_require_store, context.root, index.path)
    damaged = index.opened
    async with index.closed():
        if index.opened == damaged:  # else another task of this process was faster
            await replace_damaged(index.path, damaged)
    await index.refresh_rebuilding()


def _require_store(root: Path, path: Path) -> None:
    if not os.path.isdir(root) or not (path.parent.is_dir() or layout.has_conversations(root)):  # noqa: PTH112
        raise StoreUnavailable(f"the conversations directory {root} is gone, or empty all at once; mount or restore it")
