"""The contents of a conversation's page: facts, ribbon, outline, and events in sections."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, TypeVar

import orjson

from ..errors import EventNotFound
from ..files.log.event_log import RawEvent
from ..index.event_outline import BINS, TURNS_MAX, Outline
from ..model.event import STATE_UPDATE
from ..model.export_masking import redact_file
from ..model.ids import EventName, event_file_name
from ..model.text.cut_texts import cut_texts
from ..model.text.event_text import preview_of
from ..store.read.event_reader import BegunWindow, EventReader, UnreadableEvent, take_readable
from . import event_blocks, event_bodies
from .event_blocks import PAIR_DISTANCE, Block
from .event_bodies import TEXT_MAX, Event
from .rows import Row

T = TypeVar("T")

SECTION = 50
SECTION_MAX_BYTES = 4 << 20
_WHOLE_MAX = 2_000_000
"""Longer texts, in characters, are cut in the middle before a section is made."""
_LINES_MAX = 250
_RIBBON_WIDTH = 860

_GROUPS = (
    ("messages", "Messages"),
    ("tools", "Tools"),
    ("edits", "Edits"),
    ("errors", "Errors"),
    ("state", "State"),
    ("other", "Other"),
)
_STATE = (
    STATE_UPDATE, "SystemPromptEvent", "HookExecutionEvent", "CondensationRequest", "PauseEvent", "InterruptEvent",
)  # fmt: skip


class Part(NamedTuple):
    """A section of the page, which begins at the number `start`.

    `blocks` are (number, 0, block) and (number, 1, unreadable event); `folded` are the numbers that other blocks show.
    """

    start: int
    blocks: list[tuple[int, int, Any]]
    folded: list[int]


def make_head(row: Row, outline: Outline) -> dict[str, Any]:
    """Return the context of conversation.html, but for the sections."""
    return {
        "row": row,
        "count": outline.total,
        "last": outline.last_seq,
        "unreadable": outline.unreadable,
        **_lines(outline),
        "open_at": outline.turns[-1].seq if 0 < len(outline.turns) < TURNS_MAX else max(outline.last_seq, 0),
        "groups": [(name, label, _count(outline, name)) for name, label in _GROUPS],
        **_ribbon(outline),
        "turns": len(outline.turns),
        "errors": sum(1 for mark in outline.marks if mark.bad),
    }


def find_resume(root: Path, row: Row) -> str:
    """Return the command that continues a conversation of the OpenHands CLI in its directory.

    Return "" for one of a server: there it goes on in the server's own page, at `/conversations/ID`.
    """
    if root.parts[-2:] != (".openhands", "conversations"):
        return ""
    command = f"openhands --resume {row.id}"
    return f"cd {quote(row.workspace)} && {command}" if row.workspace else command


def _lines(outline: Outline) -> dict[str, object]:
    """Return the lines of the outline, and how many more there are, which only a search in the conversation finds.

    If there are too many, the last turns and errors are shown.
    """
    shown = outline.list_lines()
    if len(shown) <= _LINES_MAX:
        return {"lines": shown, "more_lines": 0}
    shown = [line for line in shown if line.bad or not line.sub][-_LINES_MAX:]
    return {"lines": shown, "more_lines": len(outline.turns) + len(outline.marks) - len(shown)}


def _count(outline: Outline, group: str) -> int:
    if group == "edits":
        return outline.edits
    number = sum(count for kind, _, tool, count in outline.kinds if _group(kind, tool) == group)
    return max(number - outline.edits, 0) if group == "tools" else number


def _group(kind: str, tool: str | None) -> str:
    if kind in ("MessageEvent", "Condensation", "CondensationSummaryEvent"):
        return "messages"
    if kind in ("ActionEvent", "ACPToolCallEvent"):
        return "messages" if tool == "finish" else "tools"
    if kind in ("AgentErrorEvent", "ConversationErrorEvent", "UserRejectObservation"):
        return "errors"
    return "" if kind == "ObservationEvent" else "state" if kind in _STATE else "other"


def _ribbon(outline: Outline) -> dict[str, object]:
    """Return the bars of the ribbon, as high as their steps took long, and the places of turns and condensations.

    In a very long log, whose steps have no times, they are as high as their events are many.
    """
    timed = any(one.took_us for one in outline.bins)
    sizes = [one.took_us if timed else one.user + one.edits + one.errors + one.other for one in outline.bins]
    width = _RIBBON_WIDTH / BINS
    bars = []
    for one, size in zip(outline.bins, sizes, strict=True):
        height = 2 + 22 * math.sqrt(size / max(sizes))  # the root, so that one long step leaves the others visible
        shape = "e" if one.errors else "w" if one.edits else "o"
        bars.append({"x": f"{one.number * width:.1f}", "y": f"{28 - height:.1f}", "h": f"{height:.1f}", "c": shape})
    condensed = {mark.seq * BINS // (outline.last_seq + 1) for mark in outline.marks if mark.kind == "Condensation"}
    return {
        "bars": bars,
        "timed": timed,
        "turn_places": [f"{one.number * width:.1f}" for one in outline.bins if one.user],
        "condensed_places": [f"{number * width:.1f}" for number in sorted(condensed)],
        "condensations": sum(1 for mark in outline.marks if mark.kind == "Condensation"),
    }


def join_starts(starts: Sequence[int]) -> list[tuple[int, int]]:
    """Return the starts of sections as ranges (first, last), because a long log has thousands."""
    ranges: list[tuple[int, int]] = []
    for start in starts:
        if ranges and ranges[-1][1] == start - SECTION:
            ranges[-1] = (ranges[-1][0], start)
        else:
            ranges.append((start, start))
    return ranges


def find_around(starts: Sequence[int], seq: int, last: int) -> tuple[int, int]:
    """Return (first number, number of numbers) of the sections that fill a window with this event at its top.

    They are its own section, and the next or the one before if its own may be too short.
    """
    place = max(bisect_right(starts, seq) - 1, 0)
    first = end = starts[place]
    if seq - first >= SECTION // 2 and first + SECTION in starts[place + 1 : place + 2]:
        end = first + SECTION
    elif last - seq < SECTION // 2 and first - SECTION in starts[max(place - 1, 0) : place]:
        first -= SECTION
    return first, end + SECTION - first


async def make_sections(
    log: EventReader, conversation_id: str, start: int, limit: int, *, said: bool = False
) -> dict[str, Any]:
    """Return the context of sections.html: the blocks of the events numbered from `start` on, in sections.

    Events of many bytes are not all shown at once; `rest` is the number of the first that is left. With `said`, it has
    only a user's messages, the agent's answer before each and at the end, errors, rejections, and actions without a
    result.
    """
    window = await log.begin_window(start, limit, SECTION_MAX_BYTES)
    next_speaker = await log.find_next_speaker(window.last) if said else None
    earlier = await log.list_of_kind("ActionEvent", start - PAIR_DISTANCE, start - 1)
    later = await log.list_of_kind("ObservationEvent", window.last + 1, window.last + PAIR_DISTANCE)
    keep = partial(_list_said, next_speaker=next_speaker) if said else None
    make = partial(_make_sections, conversation_id, window, earlier, keep)
    return await log.work_on([*window.names, *later], make)


def _make_sections(
    conversation_id: str,
    window: BegunWindow,
    earlier: list[EventName],
    keep: Callable[[list[Block]], list[Block]] | None,
    read: Iterator[RawEvent],
) -> dict[str, Any]:
    """Return what `make_sections` returns. `read` yields the events of the window, and then later observations.

    `keep` selects the blocks that are shown. None: all, and the numbers that they show.
    """
    events, unreadable = [], [*window.unreadable]
    for one in islice(read, len(window.names)):
        if one.unreadable:
            unreadable.append(UnreadableEvent(*one.name, one.unreadable))
        else:
            events.append(_parse(one))
    actions = [Event(name.seq, {"id": name.event_id, "kind": "ActionEvent"}) for name in earlier]
    blocks = event_blocks.make_blocks(events, actions, _find_results(events, read))
    shown = {block.event.seq for block in blocks}
    for block in blocks:
        event_blocks.drop_values(block)
    if keep is not None:
        blocks = keep(blocks)
    return {
        "conversation_id": conversation_id,
        "rest": window.last + 1 if window.is_cut else None,
        "parts": list(
            _split(
                [*((block.event.seq, 0, block) for block in blocks), *_gone(unreadable)],
                [] if keep is not None else [event.seq for event in events if event.seq not in shown],
            )
        ),
    }


def _list_said(blocks: list[Block], next_speaker: str | None) -> list[Block]:
    """Return the blocks that were said. Of the agent's messages, these are the last ones before a user's."""
    said = []
    for block in reversed(blocks):
        speaker = block.speaker
        if block.waits or (block.said and (speaker != "agent" or next_speaker != "agent")):
            said.append(block)
        next_speaker = speaker or next_speaker
    return said[::-1]


def _split(blocks: list[tuple[int, int, Any]], folded: list[int]) -> Iterator[Part]:
    """Yield blocks and folded numbers by section."""
    entries = [*((*_place(one), one) for one in blocks), *((seq, 2, None) for seq in folded)]
    for number, group in groupby(sorted(entries, key=_place), lambda entry: entry[0] // SECTION):
        inside = list(group)
        shown = [block for _, _, block in inside if block is not None]
        yield Part(number * SECTION, shown, [seq for seq, kind, _ in inside if kind == 2])


def _find_results(events: Sequence[Event], later: Iterator[RawEvent]) -> list[Event]:
    """Return the first later observation of each action that has none among the events. Reads no more than it needs."""
    waiting = {event.id for event in events if event.kind == "ActionEvent"}
    waiting -= {str(event.value.get("action_id")) for event in events if event.kind == "ObservationEvent"}
    found: list[Event] = []
    longest = _WHOLE_MAX
    while waiting and (raw := next(later, None)) is not None:
        if raw.unreadable:
            continue
        result = _parse(raw, longest)
        longest = min(longest, max(longest - len(raw.raw), TEXT_MAX))
        if result.value.get("action_id") in waiting:
            waiting.discard(str(result.value.get("action_id")))
            found.append(result)
    return found


def list_blocks(parts: Iterable[Part]) -> list[Block]:
    """Return the blocks of some sections."""
    blocks = [block for part in parts for _, _, block in part.blocks]
    return [one for one in blocks if isinstance(one, Block)]


def link_children(tasks: Iterable[Block], children: Iterable[Row]) -> None:
    """Set the `child` of each task: the conversation whose id its result names, or that begins with its prompt."""
    rows = list(children)
    for task in tasks:
        named = [row for row in rows if row.id == task.child_id]
        begun = [row for row in rows if row.preview and row.preview == preview_of(task.prompt)]
        task.child = next(iter(named or begun), None)


def _place(entry: tuple[int, int, Any]) -> tuple[int, int]:
    return entry[:2]


def _gone(unreadable: list[Any]) -> list[tuple[int, int, Any]]:
    return [(one.seq, 1, one) for one in unreadable]


async def render_inside(
    log: EventReader,
    conversation_id: str,
    event_id: str,
    observation_id: str,
    render: Callable[[dict[str, object]], T],
    *,
    whole: bool,
) -> T:
    """Return `render(context)` with the context of body.html: the body of an event and of its observation.

    Raises:
        EventNotFound: the log has no such event.
    """
    names = [await log.get_name(one) for one in (event_id, observation_id) if one]

    def make(events: Iterator[RawEvent]) -> T:
        event, observation = _take(names[0], events), _take(names[1], events) if observation_id else None
        if observation is not None and observation.value.get("action_id") != event.id:
            raise EventNotFound(f"event {observation_id[:64]} is not the observation of event {event_id[:64]}")
        ids = {"event_id": event.id, "observation_id": "" if observation is None else observation.id}
        body = event_bodies.make_body(event, observation, whole=whole)
        del event, observation
        body.images = event_bodies.cut_images(body.images)
        rendered = render({"conversation_id": conversation_id, "body": body, **ids})
        body.clear()
        return rendered

    return await log.work_on(names, make)


def _take(name: EventName, events: Iterator[RawEvent]) -> Event:
    return Event(name.seq, orjson.loads(redact_file(event_file_name(name), take_readable(events))))


def _parse(one: RawEvent, longest: int = _WHOLE_MAX) -> Event:
    """Return an event whose texts are cut in the middle if they are longer than `longest`."""
    value = orjson.loads(redact_file(event_file_name(one.name), one.raw))
    return Event(one.name.seq, value, cut_texts(value, longest) if len(one.raw) > longest else 0)
