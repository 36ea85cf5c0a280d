"""A JSON object as bytes, in which single values are replaced while all other bytes stay the same.

Unknown fields and secrets thus survive every rewrite, and a new HEAD does not need 260 kB of state parsed and dumped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from .event import parse_json_object

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
_SPACE = b" \t\r\n"
_OPENING, _CLOSING = frozenset({b"{", b"["}), frozenset({b"}", b"]"})


@dataclass(frozen=True, slots=True)
class RawObject:
    """The bytes of a JSON object, and the (begin, end) offsets of each value by key."""

    raw: bytes
    spans: Mapping[str, tuple[int, int]]

    def find(self, name: str) -> bytes | None:
        """Return the bytes of a value, or None if the key is missing."""
        span = self.spans.get(name)
        return self.raw[slice(*span)] if span else None

    def with_values(self, values: Mapping[str, bytes]) -> RawObject:
        """Return the object with these values replaced or added. Values are JSON; new keys are added at the end."""
        known = sorted((self.spans[name], name) for name in values if name in self.spans)
        pieces: list[bytes] = []
        spans: dict[str, tuple[int, int]] = {}
        at = shift = 0
        moves: list[tuple[int, int]] = []
        for (begin, end), name in known:
            pieces += [self.raw[at:begin], values[name]]
            shift += len(values[name]) - (end - begin)
            moves.append((end, shift))
            at = end
        close = self.raw.rindex(b"}")
        pieces.append(self.raw[at:close])
        size = close + shift
        for name, (begin, end) in self.spans.items():
            moved = _moved(moves, begin)
            spans[name] = (begin + moved, begin + moved + len(values[name]) if name in values else end + moved)
        for name in values:
            if name not in self.spans:
                key = b"%b%b:" % (b"," if spans else b"", orjson.dumps(name))
                pieces += [key, values[name]]
                spans[name] = (size + len(key), size + len(key) + len(values[name]))
                size += len(key) + len(values[name])
        pieces.append(self.raw[close:])
        return RawObject(b"".join(pieces), spans)


def _moved(moves: list[tuple[int, int]], position: int) -> int:
    """Return how far `position` shifts because values before it changed their length."""
    moved = 0
    for end, shift in moves:
        if end > position:
            break
        moved = shift
    return moved


def parse_raw_object(raw: bytes) -> RawObject:
    """Return the object in `raw`. If a key occurs twice, the last value counts.

    Raises:
        UnreadableFile: `raw` is not a JSON object.
    """
    parse_json_object(raw)
    return RawObject(raw, {name: (begin, end) for name, begin, end in iter_members(raw)})


def iter_members(raw: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (name, begin, end) for each member of a valid JSON object; the offsets are those of its value in `raw`.

    A repeated name is yielded each time.
    """
    depth = 0
    key: str | None = None
    text = b""
    begin = 0
    for token in _TOKEN.finditer(raw):
        what = token[0]
        if what in _OPENING:
            depth += 1
        elif depth == 1 and what == b":" and key is None:
            key, begin = orjson.loads(text), token.end()
        elif depth == 1 and what in (b",", b"}"):
            if key is not None:
                yield key, *_trimmed(raw, begin, token.start())
            key = None
            depth -= what == b"}"
        elif what in _CLOSING:
            depth -= 1
        elif depth == 1 and key is None:
            text = what


def _trimmed(raw: bytes, begin: int, end: int) -> tuple[int, int]:
    while raw[begin] in _SPACE:
        begin += 1
    while raw[end - 1] in _SPACE:
        end -= 1
    return begin, end
