"""Putting a whole database in the place of one that others have open: SQLite's backup API, in one step.

A rename over a database that somebody has open corrupts it; the backup is a transaction like any other.
"""

from __future__ import annotations

import aiosqlite

from app.index import progress
from app.index.engine import Index


async def copy_into(source: Index, target: aiosqlite.Connection) -> None:
    """Replace everything in `target`, which `Index.write_whole` gave, by what `source` holds.

    The revision goes on from the higher of the two. The epoch is a new one, also where the source was copied before, by
    a rebuild that was killed then; so old tokens are known as foreign.
    """
    async with target.execute("SELECT max(revision) FROM revision") as found:
        row = await found.fetchone()
    async with source.write() as connection:
        await progress.begin_epoch(connection, row[0] if row and row[0] else 0)
    async with aiosqlite.connect(source.path) as whole:
        await whole.backup(target)
