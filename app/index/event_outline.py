"""The outline of one conversation from its event rows: counts, turns, marks, and bins for a ribbon. Opens no file."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
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
"""The length up to which the rows of a log are read one after another, for its steps. A longer log has no steps."""

_TURN_TEXT_MAX = 200
_REST_US = 600_000_000
"""If nothing happens for longer than this, it counts as a rest, unless a tool was running."""
_EDITS = ("file_editor", "str_replace_editor", "apply_patch", "planning_file_editor")


_UNREADABLE_WORDS = ("unreadable", True)
_MARK_WORDS = {
    "AgentErrorEvent": ("tool call failed", True),
    "ConversationErrorEvent": ("run failed", True),
    "Condensation": ("condensed", False),
    "UserRejectObservation": ("rejected", True),
    "HookExecutionEvent": ("hook stopped", True),
}


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

    @property
    def steps(self) -> str:
        """The steps after the message in words, such as `4 edits, 12 commands`."""
        other = "more step" if self.edits or self.commands else "step"
        numbers = ((self.edits, "edit"), (self.commands, "command"), (self.others, other))
        return ", ".join(f"{number:,} {word}{'' if number == 1 else 's'}" for number, word in numbers if number)


class Mark(NamedTuple):
    """An important event: an error, a condensation, a rejection, a hook that stopped something, or an unreadable file.

    `number` is how many events a condensation removed from the model's view.
    """

    seq: int
    event_id: str
    kind: str
    tool: str | None
    number: int | None = None

    @property
    def words(self) -> str:
        """The event in words, such as `terminal: rejected`, `Hook stopped terminal` or `Condensed 88 events`."""
        words, _ = _MARK_WORDS.get(self.kind, _UNREADABLE_WORDS)
        if self.kind == "Condensation" and self.number:
            words += f" {self.number:,} event{'' if self.number == 1 else 's'}"
        elif self.kind == "HookExecutionEvent" and self.tool:
            words += f" {self.tool}"
        elif self.tool:
            return f"{self.tool}: {words}"
        return words[0].upper() + words[1:]

    @property
    def bad(self) -> bool:
        """Whether something failed or was refused."""
        return _MARK_WORDS.get(self.kind, _UNREADABLE_WORDS)[1]


class Line(NamedTuple):
    """A line of the outline: a turn, or an event worth finding below it."""

    seq: int
    text: str
    sub: bool
    bad: bool


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

    def list_lines(self) -> list[Line]:
        """Return the turns with their steps, and the marks, in the order of the log."""
        lines = []
        for turn in self.turns:
            lines.append(Line(turn.seq, " ".join(turn.text.split()) or "(no text)", sub=False, bad=False))
            if turn.steps:
                lines.append(Line(turn.seq + 1, turn.steps, sub=True, bad=False))
        lines += [Line(mark.seq, mark.words, sub=True, bad=mark.bad) for mark in self.marks]
        return sorted(lines, key=lambda line: (line.seq, line.sub))

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
    SELECT seq, event_id, kind, tool, number FROM event {{by}}
    WHERE conversation = {_KEY} AND (kind IN ({_MARKED}) OR unreadable IS NOT NULL)
    AND (kind <> 'HookExecutionEvent' OR number = 1 OR unreadable IS NOT NULL)
    ORDER BY seq, event_id LIMIT {MARKS_MAX}""",  # noqa: S608
    "ix_event_marks",
)


_EDITED = Sql(f"SELECT count(DISTINCT seq) FROM edit WHERE conversation = {_KEY}", {})  # noqa: S608
_EDIT_SEQS = Sql(f"SELECT DISTINCT seq FROM edit WHERE conversation = {_KEY}", {})  # noqa: S608
_TURN, _EDIT, _ERROR, _STEP, _COMMAND, _UNREADABLE = 1, 2, 4, 8, 16, 32
_STEPS = Sql(
    f"""
    SELECT seq, timestamp, CASE WHEN unreadable IS NULL THEN 0 ELSE {_UNREADABLE} END + CASE kind
        WHEN 'ObservationEvent' THEN 0
        WHEN 'ActionEvent' THEN CASE WHEN tool IN ('terminal', 'execute_bash') THEN {_STEP + _COMMAND}
            WHEN tool IN ({_EDIT_TOOLS}) THEN {_STEP + _EDIT} WHEN tool = 'finish' THEN 0 ELSE {_STEP} END
        WHEN 'MessageEvent' THEN CASE source WHEN 'user' THEN {_TURN} ELSE 0 END
        WHEN 'ACPToolCallEvent' THEN {_STEP}
        WHEN 'AgentErrorEvent' THEN {_ERROR}
        WHEN 'ConversationErrorEvent' THEN {_ERROR}
        ELSE 0 END
    FROM event WHERE conversation = {_KEY} ORDER BY seq, event_id""",  # noqa: S608
    {},
)
"""One number says what an event is: window functions of SQLite take four times as long as a loop over these rows."""


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
        if 0 <= last_seq < STEPS_READ:
            edit_seqs = [seq for [seq] in await index.fetch_all(_EDIT_SEQS, {"uuid": uuid})]
            steps: list[Any] = await index.fetch_all(_STEPS, {"uuid": uuid})
            edits, bins, of_turn = len(edit_seqs), _count_bins(steps, last_seq + 1), _count_steps(steps, edit_seqs)
        else:
            divided = orjson.dumps(_list_divided(last_seq + 1)).decode()
            where = {"uuid": uuid, "length": last_seq + 1, "divided": divided}
            rows = await index.fetch_all(_BINS, where) if kinds else []
            bins = [Bin(row[0], row[1], row[2], row[3], row[4] - sum(row[1:4])) for row in rows]
            [[edits]] = await index.fetch_all(_EDITED, {"uuid": uuid})
            of_turn = [(0, 0, 0)] * len(turns)
    return Outline(
        total=sum(row[3] for row in kinds),
        unreadable=sum(row[4] for row in kinds),
        edits=edits,
        last_seq=last_seq,
        kinds=[(row[0], row[1], row[2], row[3]) for row in kinds],
        turns=[Turn._make((*row, *counts)) for row, counts in zip(turns, of_turn, strict=False)],
        marks=[Mark(*row) for row in marks],
        bins=bins,
    )


def _count_bins(steps: Sequence[tuple[int, int | None, int]], length: int) -> list[Bin]:
    """Return the bins of a log that ends before the number `length` from its rows of `_STEPS`."""
    counts = [[0] * 5 for _ in range(BINS)]
    for (seq, begin, what), (_, end, then) in pairwise([*steps, (length, None, 0)]):
        one = counts[seq * BINS // length]
        one[0] += 1
        if what:
            one[1] += what & _TURN
            one[2] += (what & _EDIT) // _EDIT
            one[3] += what & (_ERROR | _UNREADABLE) > 0
        if begin is not None and end is not None and not then & _TURN:
            took = end - begin
            if took > 0 and (took <= _REST_US or what & _STEP):
                one[4] += took
    return [
        Bin(number, turns, edits, errors, events - turns - edits - errors, took)
        for number, (events, turns, edits, errors, took) in enumerate(counts)
        if events
    ]


def _count_steps(steps: Iterable[tuple[int, int | None, int]], edit_seqs: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return the edits, commands and other steps of each turn. An edit is the result of a step."""
    begins = []
    numbers = [[0, 0]]
    for seq, _, what in steps:
        if what & (_TURN | _UNREADABLE) == _TURN:
            begins.append(seq)
            numbers.append([0, 0])
        elif what & _STEP:
            numbers[-1][0] += 1
            numbers[-1][1] += (what & _COMMAND) // _COMMAND
    edits = Counter(bisect_right(begins, seq) for seq in edit_seqs)
    return [
        (edits[turn], commands, max(steps - edits[turn] - commands, 0))
        for turn, (steps, commands) in enumerate(numbers[1:], 1)
    ]
