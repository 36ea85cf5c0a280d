"""The texts of answers: what convstore says, quoted lines, and notes on what is left out, within a length."""

from __future__ import annotations

from collections.abc import Sequence
from html import unescape
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.costs import Amount, Point
from ..model.hits import Hit
from ..model.ids import dashed
from ..model.periods import Period
from ..model.times import format_us
from ..model.transcript import name_conversation
from .quoting import WARNING, quote, quote_line, shorten

if TYPE_CHECKING:
    from ..index.event_outline import Outline, Turn
    from ..index.file_edits import Edit

_NOTE_CHARS = 320
"""The room that is kept for the note on what did not fit."""

_NAME_MAX = 120
_SNIPPET_MAX = 280
_FACTS_MAX = 200
_TURN_MAX = 160
_RESPONSE_MAX = 1200
_DIGITS = {Period.HOUR: 16, Period.DAY: 10, Period.WEEK: 10, Period.MONTH: 7}


class Answer(NamedTuple):
    """The parts of an answer. `items` are convstore's own lines with the quoted lines that belong to them."""

    head: str
    items: Sequence[str] = ()
    notes: Sequence[str] = ()

    def count_fitting(self, max_chars: int) -> int:
        """Return the number of items that fit beside the other parts. The first one always does."""
        room = max_chars - len(Answer(self.head, ("",), self.notes).text) - _NOTE_CHARS
        number = 0
        for item in self.items:
            room -= len(item) + 2
            if room < 0:
                break
            number += 1
        return max(number, 1)

    @property
    def text(self) -> str:
        """The whole answer."""
        warned = [WARNING] if self.items else []
        return "\n\n".join([self.head, *warned, *self.items, *(["\n".join(self.notes)] if self.notes else [])])


class Links(NamedTuple):
    """Makes addresses of the page. `base` is the address of the server, or "" if it is not known."""

    base: str = ""

    def to(self, conversation_id: str, seq: int | None = None) -> str:
        """Return the address of a conversation, or of an event in it."""
        place = "" if seq is None else f"#e{seq}"
        return f"{self.base}/c/{conversation_id.replace('-', '')}{place}"


def describe_hit(hit: Hit, links: Links) -> str:
    """Return the lines for a message or title that matches."""
    place = "its title" if hit.seq is None else f"event {hit.seq}"
    snippet = unescape(hit.snippet.replace("<mark>", "**").replace("</mark>", "**"))
    return "\n".join(
        [
            f"conversation {dashed(hit.conversation_id)}, {place}, {_time(hit.time_us)}",
            links.to(hit.conversation_id, hit.seq),
            quote_line(name_conversation(hit.title, hit.preview), _NAME_MAX),
            quote_line(f"{hit.source}: {snippet}", _SNIPPET_MAX),
        ]
    )


def describe_row(row: dict[str, Any], links: Links) -> str:
    """Return the lines for a conversation in the view ROW."""
    facts = [
        row["status"],
        _counted(row["event_count"], "event"),
        *([_counted(row["error_count"], "error")] if row["error_count"] else []),
        *([f"${row['cost']:.2f}"] if row["cost"] else []),
        f"changed {_short(row['updated_at'])}",
        *(["archived"] if row["archived"] else []),
        *([f"child of {row['parent']}"] if row["parent"] else []),
        *(["its files cannot be read"] if row["unreadable"] else []),
    ]
    return "\n".join(
        [
            f"conversation {row['id']}, {', '.join(facts)}",
            links.to(row["id"]),
            quote_line(name_conversation(row["title"], row["preview"]), _NAME_MAX),
            *_quote_facts(row["workspace"], row["model"], row["tags"]),
        ]
    )


def _quote_facts(workspace: str | None, model: str | None, tags: dict[str, str]) -> list[str]:
    facts = [
        *([f"in {shorten(workspace, 100)}"] if workspace else []),
        *([f"model {shorten(model, 60)}"] if model else []),
        *(f"{key}:{value}" for key, value in tags.items()),
    ]
    return [quote_line(", ".join(facts), _FACTS_MAX)] if facts else []


def describe_edit(edit: Edit, links: Links) -> str:
    """Return the lines for a change of a file."""
    return "\n".join(
        [
            f"conversation {dashed(edit.conversation_id)}, event {edit.seq}, {_time(edit.time_us)}",
            links.to(edit.conversation_id, edit.seq),
            quote_line(name_conversation(edit.title, edit.preview), _NAME_MAX),
        ]
    )


def describe_usage(points: Sequence[Point], by: Period) -> tuple[str, list[str]]:
    """Return (the sum of all points, a line for each point): the latest first, within a period the costliest."""
    total = sum((point.amount for point in points), Amount())
    lines = [
        quote_line(
            f"{point.begin.isoformat(' ')[: _DIGITS[by]]} "
            f"{f'{shorten(point.split, 100)}: ' if point.split else ''}{_amount(point.amount)}",
            _FACTS_MAX,
        )
        for point in sorted(points, key=lambda point: point.begin, reverse=True)
    ]
    return _amount(total), lines


def _amount(amount: Amount) -> str:
    return f"${amount.cost:,.2f}, {amount.prompt:,} prompt ({amount.cached:,} cached), {amount.completion:,} completion"


def describe_facts(info: dict[str, Any]) -> str:
    """Return the quoted name, working directory, model and tags of a ConversationInfo."""
    agent, workspace, tags = _dict(info.get("agent")), _dict(info.get("workspace")), _dict(info.get("tags"))
    model = info.get("current_model_id") or _dict(agent.get("llm")).get("model")
    title, preview = info.get("title"), info.get("preview")
    name = name_conversation(_text(title), _text(preview))
    facts = _quote_facts(
        _text(workspace.get("working_dir")), _text(model), {str(key): str(value) for key, value in tags.items()}
    )
    return "\n".join([quote_line(name, _NAME_MAX), *facts])


def describe_outline(outline: Outline, response: str, room: int) -> tuple[list[str], list[str]]:
    """Return (items, notes) for the outline of a conversation: a user's messages, the last answer, counts, marks."""
    kinds = ", ".join(
        f"{count} {kind}{f' of {tool}' if tool else ''} by {source}" for kind, source, tool, count in outline.kinds
    )
    items, notes = [], []
    quoted = quote(response[:_RESPONSE_MAX])[: room // 3]
    if response:
        items.append(f"The agent's last answer:\n{quoted}")
        if len(quoted) < len(quote(response)):
            notes.append("The last answer is cut; get_events without `around` reads the last events.")
    if kinds:
        items.append(f"Events by kind:\n{quote_line(kinds, room // 6)}")
    marks = [f"event {mark.seq}: {mark.kind}{f' of {mark.tool}' if mark.tool else ''}" for mark in outline.marks]
    lines = _take_last([quote_line(mark, 80) for mark in marks], room // 6)
    if lines:
        items.append(
            "\n".join([f"The last {len(lines)} of {len(marks)} errors, rejections and condensations:", *lines])
        )
    turns, left_out = _describe_turns(outline.turns, room - sum(len(item) + 2 for item in items))
    if turns:
        items.insert(0, "\n".join(["What the user said:", *turns]))
    if left_out:
        notes.append(f"{_counted(left_out, 'message')} of the user left out in the middle; raise max_chars.")
    return items, notes


def _take_last(lines: list[str], room: int) -> list[str]:
    """Return as many of the last lines as fit."""
    taken = 0
    while taken < len(lines) and (room := room - len(lines[-1 - taken]) - 1) >= 0:
        taken += 1
    return lines[len(lines) - taken :]


def _describe_turns(turns: Sequence[Turn], room: int) -> tuple[list[str], int]:
    """Return (lines for the turns, the number of turns that did not fit). The first and the last turns are kept."""
    lines = [f"event {one.seq}, {_time(one.timestamp_us)}\n{quote_line(one.text, _TURN_MAX)}" for one in turns]
    kept = len(lines)
    while kept > 1 and sum(len(line) + 1 for line in _ends(lines, kept)) > room:
        kept -= 1
    return _ends(lines, kept), len(lines) - kept


def _ends(lines: list[str], number: int) -> list[str]:
    """Return `number` lines: half from the beginning, half from the end."""
    first = (number + 1) // 2
    return lines if number >= len(lines) else [*lines[:first], *lines[len(lines) - (number - first) :]]


def _time(time_us: int | None) -> str:
    return "at an unknown time" if time_us is None else _short(format_us(time_us))


def _short(iso: str) -> str:
    """Return a time in UTC to the minute."""
    return f"{iso[:16].replace('T', ' ')}Z"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
