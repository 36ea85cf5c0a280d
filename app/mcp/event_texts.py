"""Events as quoted text for a model: as many as fit into a number of characters, the requested event first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..errors import UnreadableFile
from ..model.event import STATE_UPDATE
from ..model.export_masking import redact_file
from ..model.ids import event_file_name
from ..model.times import find_time_us, format_us
from ..model.transcript import texts, who
from .arguments import CHARS_MOST
from .quoting import MARK, quote

if TYPE_CHECKING:
    from ..files.log.event_log import RawEvent

_HEAD_CHARS = 90
"""The length of the longest line above an event."""

_LEAST_CHARS = 120
"""Events get at least so much room each; if there is less, fewer are shown."""

_QUOTED_CHARS = CHARS_MOST
"""So many characters of the beginning and of the end of a text are quoted. No answer has room for more."""

_CENTER = 3
"""The requested event gets this many times the room of another one."""


class Shown(NamedTuple):
    """The texts of events, and the numbers of those that were left out: for lack of room, or as bookkeeping."""

    items: list[str]
    cut: list[int]
    outside: list[int]
    bookkeeping: list[int]
    unreadable: list[int]


class _Text(NamedTuple):
    seq: int
    time: str
    quoted: str
    omitted: int
    """The characters in its middle that are not in `quoted`."""


def show_events(events: Iterable[RawEvent], center: int | None, room: int, zone: tzinfo | None) -> Shown:
    """Return the texts of events, with secrets masked as in exports. Long texts lose their middle.

    `center` is the number of the event that gets the most room; None means the last one.
    """
    read, bookkeeping, unreadable = _read(events, zone)
    if center is None and read:
        center = read[-1].seq
    near = sorted(read, key=lambda one: abs(one.seq - (center or 0)))[: max(room // (_HEAD_CHARS + _LEAST_CHARS), 1)]
    kept = sorted(near)
    room -= len(kept) * (_HEAD_CHARS + 2)
    weights = [_CENTER if one.seq == center else 1 for one in kept]
    limit = _find_limit([len(one.quoted) for one in kept], weights, room)
    items, cut = [], []
    for one, weight in zip(kept, weights, strict=True):
        longest = limit * weight
        head = f"event {one.seq}, {one.time}"
        if len(one.quoted) > longest:
            cut.append(one.seq)
            total = len(one.quoted) + one.omitted
            head += f", {total - longest:,} of {total:,} characters left out"
        items.append(f"{head}\n{cut_middle(one.quoted, longest)}")
    outside = [one.seq for one in read if one not in kept]
    return Shown(items, cut, outside, bookkeeping, unreadable)


def cut_middle(quoted: str, longest: int) -> str:
    """Return the beginning and the end of a quoted text that is longer than `longest`; still quoted in each line."""
    if len(quoted) <= longest:
        return quoted
    told = f"\n{MARK}[…]\n{MARK}"
    room = max(longest - len(told), 0)
    head = room * 2 // 3
    return f"{quoted[:head].rstrip() or MARK}{told}{quoted[len(quoted) - (room - head) :].lstrip()}"


def _read(events: Iterable[RawEvent], zone: tzinfo | None) -> tuple[list[_Text], list[int], list[int]]:
    """Return (the texts of events, the numbers of bookkeeping events, the numbers of unreadable ones)."""
    read, bookkeeping, unreadable = [], [], []
    for event in events:
        try:
            value: dict[str, Any] = orjson.loads(redact_file(event_file_name(event.name), event.raw))
        except (UnreadableFile, ValueError):
            unreadable.append(event.name.seq)
            continue
        if value.get("kind") == STATE_UPDATE:
            bookkeeping.append(event.name.seq)
            continue
        time_us = find_time_us(value.get("timestamp"), zone)
        time = "at an unknown time" if time_us is None else f"{format_us(time_us)[:19].replace('T', ' ')}Z"
        said = "\n".join(text.strip("\n") for text in texts(value) if text.strip())
        said = f"{who(value)}:\n{said}" if said else who(value)
        omitted = max(len(said) - 2 * _QUOTED_CHARS, 0)
        if omitted:
            said = said[:_QUOTED_CHARS] + said[-_QUOTED_CHARS:]
        read.append(_Text(event.name.seq, time, quote(said), omitted))
    return read, bookkeeping, unreadable


def _find_limit(lengths: Sequence[int], weights: Sequence[int], room: int) -> int:
    """Return the largest length to which texts may be cut, times their weights, so that all fit into the room."""
    low, high = 0, max(room, max(lengths, default=0))
    while low < high:
        middle = (low + high + 1) // 2
        used = sum(min(length, middle * weight) for length, weight in zip(lengths, weights, strict=True))
        low, high = (middle, high) if used <= room else (low, middle - 1)
    return low
