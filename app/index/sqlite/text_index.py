"""The upkeep of the full-text index, which uses SQLite's FTS5: merging its parts, and finding a text in the tables."""

from __future__ import annotations

from ..connections import ReadConnection, WriteConnection
from ..dialect import Sql

MERGED_PAGES = 500
"""The number of pages of 4 kB that are merged in one transaction, which takes about 50 ms."""

_PAGE_BYTES = 4050
_MERGED_SOMETHING = 2

_HOW_LOOSE = Sql(
    "SELECT (SELECT count(DISTINCT segid) FROM message_fts_idx), (SELECT sum(length(block)) FROM message_fts_data),"
    " (SELECT count(*) FROM message) * (SELECT avg(length(CAST(text || tool_text AS BLOB))) FROM ("
    "SELECT * FROM (SELECT text, tool_text FROM message ORDER BY id DESC LIMIT 1000)"
    " UNION ALL SELECT * FROM (SELECT text, tool_text FROM message ORDER BY id LIMIT 1000)))",
    {},
)
_CHANGES = Sql("SELECT total_changes()", {})
_MERGE = Sql("INSERT INTO message_fts (message_fts, rank) VALUES ('merge', :pages)", {})


async def count_merges(index: ReadConnection, *, always: bool) -> int:
    """Return the approximate number of steps to merge the text index, or 0 if merging is unnecessary or not worthwhile.

    Deleted and rewritten texts leave entries behind. Merging is worthwhile if the text index is larger than the texts,
    which is about twice its merged size. With `always`, it is merged in any case.
    """
    row = await index.fetch_one(_HOW_LOOSE)
    segments, size_bytes, text_bytes = row or (0, None, None)
    if segments <= 1 or not (always or (size_bytes or 0) > (text_bytes or 0)):
        return 0
    return 1 + int(size_bytes or 0) // (MERGED_PAGES * _PAGE_BYTES)


def merge_words(index: WriteConnection, *, begin: bool) -> bool:
    """Do one step of merging and return whether there is more to do. Pass `begin` for the first step."""
    [[before]] = index.fetch_all(_CHANGES)
    index.execute_many(_MERGE, [{"pages": -MERGED_PAGES if begin else MERGED_PAGES}])
    [[after]] = index.fetch_all(_CHANGES)
    return int(after) - int(before) >= _MERGED_SOMETHING


_MERGE_ALL = tuple(
    Sql(f"INSERT INTO {table} ({table}) VALUES ('optimize')", {})  # noqa: S608
    for table in ("message_fts", "title_fts")
)


def merge_all_words(index: WriteConnection) -> None:
    """Merge both text indexes completely, so that they keep no word of a deleted text."""
    for statement in _MERGE_ALL:
        index.execute_many(statement, [{}])
