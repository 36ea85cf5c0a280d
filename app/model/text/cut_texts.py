"""Long texts in an event are cut in the middle, so that the event fits where it is shown."""

from __future__ import annotations

from typing import Any

import orjson

_SHORTEST = 200
"""Shorter texts are never cut: ids, times, names."""


def cut_texts(value: Any, longest: int) -> int:  # noqa: ANN401 - any JSON
    """Cut the middle out of all texts in a value that are longer, and return how many characters are left out."""
    left_out = 0
    left = [value]
    while left:
        one = left.pop()
        for key, item in one.items() if isinstance(one, dict) else enumerate(one):
            if isinstance(item, str) and len(item) > longest:
                one[key] = f"{item[: longest // 2]}\n…\n{item[-(longest // 2) :]}"
                left_out += len(item) - len(one[key])
            elif isinstance(item, dict | list):
                left.append(item)
    return left_out


def fit_event(raw: bytes, max_bytes: int) -> bytes:
    """Return an event's JSON with its longest texts cut, so that it has at most `max_bytes`, if that suffices.

    Texts up to 200 characters are never cut, so an event may be larger in the end.
    """
    if len(raw) <= max_bytes:
        return raw
    value = orjson.loads(raw)
    longest = max_bytes
    while len(raw) > max_bytes and longest > _SHORTEST:
        longest = max(longest // 2, _SHORTEST)
        if cut_texts(value, longest):
            raw = orjson.dumps(value)
    return raw
