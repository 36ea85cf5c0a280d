"""The number of events of each kind in each block of a long log, so that no answer about a log reads all of its rows.

The first `ROWS_READ` numbers of a log have no blocks: their rows are counted, which takes a millisecond. So a short
conversation needs no row here. Whoever writes event rows updates these counts in the same transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import delete

from .connections import ReadConnection, WriteConnection
from .dialect import Sql
from .tables import log_block

BLOCK = 256
"""The number of event numbers in a block."""

ROWS_READ = 1024
"""The numbers below this one are in no block. A multiple of `BLOCK`."""

_COUNTED = (
    f"SELECT conversation, seq / {BLOCK} AS block, kind, source, coalesce(tool, '') AS tool_name, count(*) AS events,"  # noqa: S608
    f" count(unreadable) AS unreadable FROM event WHERE seq >= {ROWS_READ}"
)
_GROUPED = "GROUP BY conversation, block, kind, source, tool_name"
_STORED = "SELECT conversation, block, kind, source, tool, events, unreadable FROM log_block"
_COLUMNS = "(conversation, block, kind, source, tool, events, unreadable)"
_ADD = Sql(
    f"INSERT INTO log_block {_COLUMNS} VALUES (:conversation, :block, :kind, :source, :tool, :events, :unreadable)"  # noqa: S608
    " ON CONFLICT (conversation, block, kind, source, tool) DO UPDATE SET events = log_block.events + excluded.events,"
    " unreadable = log_block.unreadable + excluded.unreadable",
    {},
)
_FORGET = Sql("DELETE FROM log_block WHERE conversation = :conversation AND block = :block", {})
_RECOUNT = Sql(
    f"INSERT INTO log_block {_COLUMNS} {_COUNTED} AND conversation = :conversation"
    f" AND seq >= :block * {BLOCK} AND seq < (:block + 1) * {BLOCK} {_GROUPED}",
    {},
)
_COPY = Sql(
    f"INSERT INTO log_block {_COLUMNS} SELECT :target, block, kind, source, tool, events - unreadable, 0 FROM log_block"  # noqa: S608
    " WHERE conversation = :source AND block >= :begin AND block < :end AND events > unreadable",
    {},
)
_MISCOUNTED = Sql(
    f"SELECT conversation, block FROM (SELECT * FROM ({_COUNTED} {_GROUPED}) AS one EXCEPT {_STORED}) AS more"  # noqa: S608
    f" UNION SELECT conversation, block FROM ({_STORED} EXCEPT SELECT * FROM ({_COUNTED} {_GROUPED}) AS one) AS fewer",
    {},
)


class Counted(NamedTuple):
    """An event as blocks count it. `key` is its conversation's."""

    key: int
    seq: int
    kind: str
    source: str
    tool: str | None
    unreadable: str | None


def add_counts(index: WriteConnection, added: Iterable[Counted]) -> None:
    """Count new events."""
    blocked = [one for one in added if one.seq >= ROWS_READ]
    if not blocked:
        return
    events: Counter[tuple[int, int, str, str, str]] = Counter()
    unreadable: Counter[tuple[int, int, str, str, str]] = Counter()
    for one in blocked:
        place = (one.key, one.seq // BLOCK, one.kind, one.source, one.tool or "")
        events[place] += 1
        unreadable[place] += one.unreadable is not None
    names = ("conversation", "block", "kind", "source", "tool")
    rows = [
        {**dict(zip(names, place, strict=True)), "events": number, "unreadable": unreadable[place]}
        for place, number in events.items()
    ]
    index.execute_many(_ADD, rows)


def recount(index: WriteConnection, changed: Iterable[tuple[int, int]]) -> None:
    """Count the blocks anew that have these events (key of the conversation, number), after rows changed."""
    blocks = {(key, seq // BLOCK) for key, seq in changed if seq >= ROWS_READ}
    rows = [{"conversation": key, "block": block} for key, block in sorted(blocks)]
    if rows:
        index.execute_many(_FORGET, rows)
        index.execute_many(_RECOUNT, rows)


def copy_counts(index: WriteConnection, source: int, target: int, first: int, last: int) -> None:
    """Count the events between two numbers after all readable ones were copied from `source` to `target`, two keys.

    The target had no other events there.
    """
    begin, end = -(-first // BLOCK), (last + 1) // BLOCK
    index.fetch_all(_COPY, {"source": source, "target": target, "begin": begin, "end": end})
    recount(index, [(target, seq) for seq in (first, last) if not begin <= seq // BLOCK < end])


def clear(index: WriteConnection) -> None:
    """Delete all counts, together with all event rows."""
    index.execute(delete(log_block))


async def list_miscounted(index: ReadConnection) -> list[tuple[int, int]]:
    """Return (key of the conversation, first number) of the blocks whose counts differ from their event rows.

    This reads all event rows.
    """
    return [(key, block * BLOCK) for key, block in await index.fetch_all(_MISCOUNTED)]
