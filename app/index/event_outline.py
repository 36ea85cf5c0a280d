"""The outline of one conversation from its event rows: counts, turns, marks, and bins for a ribbon. Opens no file."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import orjson
from sqlalchemy import text

from ..model.ids import ConversationId
from . import log_blocks
from .connections import ReadConnection
from .dialect import Sql, paired

TURNS_MAX = 1000
MARKS_MAX = 1000
BINS = 120

STEPS_READ = 10_000
"""The length up to which the rows of a log are read one after another, for its steps: 10,000 take some 15 ms."""

_TURN_TEXT_MAX = 200
_REST_US = 600_000_000
"""If nothing happens for longer than this, it counts as a rest, unless a tool was running."""
_EDITS = ("file_editor", "str_replace_editor", "apply_patch", "planning_file_editor")


class Turn(NamedTuple):
    """A message of a user. `text` is its beginning, with secrets masked.

    `edits`, `commands` and `others` are the numbers of steps until the next message: changes of files, commands in a
    terminal, and other calls of tools. They are 0 in a log longer than `STEPS_READ`.
    """

    seq: int
    event_id: str
    timestamp_us: int | None
    text: str
    edits: int = 0
    commands: int = 0
    others: int = 0


class Mark(NamedTuple):
    """An important event: an error, a condensation, a rejection, a hook, or an unreadable file."""

    seq: int
    event_id: str
    kind: str
    tool: str | None


class Bin(NamedTuple):
    """The number of events of each category in one part of the log, and the time that its steps took.

    The time until a user's message does not count, nor a rest. It is 0 in a log longer than `STEPS_READ`.
    """

    number: int
    user: int
    edits: int
    errors: int
    other: int
    took_us: int = 0


class Outline(NamedTuple):
    """The outline of a conversation. `last_seq` is -1 if it has no event; `kinds` are (kind, source, tool, count).

    `edits` is the number of events that say that they changed a file.
    """

    total: int
    unreadable: int
    edits: int
    last_seq: int
    kinds: list[tuple[str, str, str | None, int]]
    turns: list[Turn]
    marks: list[Mark]
    bins: list[Bin]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers."""
        names = ("kind", "source", "tool", "count")
        return {
            **self._asdict(),
            "kinds": [dict(zip(names, row, strict=True)) for row in self.kinds],
            "turns": [turn._asdict() for turn in self.turns],
            "marks": [mark._asdict() for mark in self.marks],
            "bins": [one._asdict() for one in self.bins],
        }


_ERRORS = "'AgentErrorEvent', 'ConversationErrorEvent'"
_MARKED = f"{_ERRORS}, 'Condensation', 'UserRejectObservation', 'HookExecutionEvent'"
_KEY = "(SELECT id FROM conversation WHERE uuid = :uuid)"
_ROWS = f"""
    SELECT seq, kind, source, coalesce(tool, '') AS tool, 1 AS events,
        CASE WHEN unreadable IS NOT NULL THEN 1 ELSE 0 END AS unreadable
    FROM event WHERE conversation = {_KEY} AND seq < {log_blocks.ROWS_READ}"""  # noqa: S608
_BLOCKS = f"""
    SELECT block * {log_blocks.BLOCK} AS seq, kind, source, tool, events, unreadable
    FROM log_block WHERE conversation = {_KEY}"""  # noqa: S608

_LAST_SEQ = Sql(f"SELECT max(seq) FROM event WHERE conversation = {_KEY}", {})  # noqa: S608
_KINDS = Sql(
    f"""
    SELECT kind, source, nullif(tool, ''), sum(events), sum(unreadable) FROM ({_ROWS} UNION ALL {_BLOCKS}) AS one
    GROUP BY kind, source, tool ORDER BY sum(events) DESC, kind, source, tool""",  # noqa: S608
    {},
)
_EDIT_TOOLS = ", ".join(f"'{tool}'" for tool in _EDITS)
_CATEGORIES = (
    "{0}(CASE WHEN kind = 'MessageEvent' AND source = 'user' THEN {1} ELSE 0 END) AS turns,"
    f" {{0}}(CASE WHEN kind = 'ActionEvent' AND tool IN ({_EDIT_TOOLS}) THEN {{1}} ELSE 0 END) AS edits,"
    f" {{0}}(CASE WHEN kind IN ({_ERRORS}) THEN {{1}} ELSE {{2}} END) AS errors, {{0}}({{1}}) AS events"
)
_OF_ROWS = _CATEGORIES.format("", 1, "CASE WHEN unreadable IS NOT NULL THEN 1 ELSE 0 END")
_BINS_TEXT = f"""
    SELECT seq * {BINS} / :length AS number, sum(turns), sum(edits), sum(errors), sum(events) FROM (
        SELECT seq, {_OF_ROWS} FROM event WHERE conversation = {_KEY} AND seq < {log_blocks.ROWS_READ}
        UNION ALL
        SELECT block * {log_blocks.BLOCK} AS seq, {_CATEGORIES.format("sum", "events", "unreadable")}
        FROM log_block WHERE conversation = {_KEY} AND block NOT IN (SELECT value FROM {{divided}} AS parts)
        GROUP BY block
        UNION ALL
        SELECT seq, {_OF_ROWS} FROM {{divided}} AS one{{cross}} JOIN event ON event.conversation = {_KEY}
        AND event.seq >= one.value * {log_blocks.BLOCK} AND event.seq < (one.value + 1) * {log_blocks.BLOCK}
    ) AS whole GROUP BY number ORDER BY number"""  # noqa: S608
_BINS = paired(
    text(_BINS_TEXT.format(divided="json_each(:divided)", cross=" CROSS")),
    text(
        _BINS_TEXT.format(
            divided="(SELECT CAST(value AS BIGINT) AS value"
            " FROM json_array_elements_text(CAST(:divided AS JSON)) AS each(value))",
            cross="",
        )
    ),
)
"""Whole blocks are added up. Blocks that are divided between two bins are read row by row: at most one for each bin."""


def _by_index(written: str, index: str) -> Sql:
    """Return a statement in which SQLite uses a database index. PostgreSQL chooses by itself."""
    return paired(text(written.format(by=f"INDEXED BY {index}")), text(written.format(by="")))


# SQLite would rather walk all rows of the log in the primary key, because that has all columns: hence INDEXED BY.
# The conditions are those of the database indexes, in their own words; otherwise SQLite refuses to use them.
_TURNS = _by_index(
    f"""
    SELECT event.seq, event.event_id, event.timestamp, substr(coalesce(message.text, ''), 1, {_TURN_TEXT_MAX})
    FROM event {{by}} LEFT JOIN message ON message.conversation = event.conversation
    AND message.seq = event.seq AND message.event_id = event.event_id
    WHERE event.conversation = {_KEY} AND event.kind = 'MessageEvent' AND event.source = 'user'
    AND event.unreadable IS NULL ORDER BY event.seq, event.event_id LIMIT {TURNS_MAX}""",  # noqa: S608
    "ix_event_turns",
)
_MARKS = _by_index(
    f"""
    SELECT seq, event_id, kind, tool FROM event {{by}}
    WHERE conversation = {_KEY} AND (kind IN ({_MARKED}) OR unreadable IS NOT NULL)
    ORDER BY seq, event_id LIMIT {MARKS_MAX}""",  # noqa: S608
    "ix_event_marks",
)


_IS_TURN = "CASE WHEN kind = 'MessageEvent' AND source = 'user' THEN 1 ELSE 0 END"
_IS_STEP = "kind = 'ACPToolCallEvent' OR kind = 'ActionEvent' AND coalesce(tool, '') <> 'finish'"
_EDITED = Sql(f"SELECT count(DISTINCT seq) FROM edit WHERE conversation = {_KEY}", {})  # noqa: S608
_STEPS = Sql(
    f"""
    SELECT turn, seq * {BINS} / :length AS number, sum(edited), sum(command), sum(step),
        sum(CASE WHEN took > 0 AND before_turn = 0 AND (step = 1 OR took <= {_REST_US}) THEN took ELSE 0 END)
    FROM (
        SELECT seq,
            CASE WHEN {_IS_STEP} THEN 1 ELSE 0 END AS step,
            CASE WHEN kind = 'ActionEvent' AND tool IN ('terminal', 'execute_bash') THEN 1 ELSE 0 END AS command,
            CASE WHEN EXISTS (SELECT 1 FROM edit WHERE edit.conversation = event.conversation
                AND edit.seq = event.seq AND edit.event_id = event.event_id) THEN 1 ELSE 0 END AS edited,
            sum({_IS_TURN}) OVER (ORDER BY seq, event_id) AS turn,
            lead(timestamp) OVER (ORDER BY seq, event_id) - timestamp AS took,
            lead({_IS_TURN}) OVER (ORDER BY seq, event_id) AS before_turn
        FROM event WHERE conversation = {_KEY}
    ) AS one GROUP BY 1, 2""",  # noqa: S608
    {},
)


def _list_divided(length: int) -> list[int]:
    """Return the blocks that lie in two bins of a log that ends before the number `length`."""
    ends = {-(-number * length // BINS) for number in range(1, BINS)}
    blocks = {end // log_blocks.BLOCK for end in ends if end % log_blocks.BLOCK and end > log_blocks.ROWS_READ}
    return sorted(blocks)


async def read_outline(index: ReadConnection, uuid: ConversationId) -> Outline:
    """Return the outline of a conversation, in one snapshot of the index."""
    async with index.snapshot():
        [[last]] = await index.fetch_all(_LAST_SEQ, {"uuid": uuid})
        last_seq = -1 if last is None else int(last)
        kinds = await index.fetch_all(_KINDS, {"uuid": uuid})
        turns = await index.fetch_all(_TURNS, {"uuid": uuid})
        marks = await index.fetch_all(_MARKS, {"uuid": uuid})
        divided = orjson.dumps(_list_divided(last_seq + 1)).decode()
        bins = await index.fetch_all(_BINS, {"uuid": uuid, "length": last_seq + 1, "divided": divided}) if kinds else []
        [[edits]] = await index.fetch_all(_EDITED, {"uuid": uuid})
        has_steps = 0 <= last_seq < STEPS_READ
        steps = await index.fetch_all(_STEPS, {"uuid": uuid, "length": last_seq + 1}) if has_steps else []
    of_turn: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    took_us: Counter[int] = Counter()
    for turn, number, *counts, took in steps:
        of_turn[turn] = [one + more for one, more in zip(of_turn[turn], counts, strict=True)]
        took_us[number] += took
    return Outline(
        total=sum(row[3] for row in kinds),
        unreadable=sum(row[4] for row in kinds),
        edits=edits,
        last_seq=last_seq,
        kinds=[(row[0], row[1], row[2], row[3]) for row in kinds],
        turns=[Turn._make((*row, *_steps(*of_turn[place]))) for place, row in enumerate(turns, 1)],
        marks=[Mark(*row) for row in marks],
        bins=[Bin(row[0], row[1], row[2], row[3], row[4] - sum(row[1:4]), took_us[row[0]]) for row in bins],
    )


def _steps(edits: int, commands: int, steps: int) -> tuple[int, int, int]:
    """Return the numbers of edits, of commands, and of other steps. An edit is the result of a step."""
    return edits, commands, max(steps - edits - commands, 0)
