"""Snippets: the part of a text that contains the search terms, as HTML with `<mark>` around each match.

A snippet comes from the original text, because the index has only folded words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from typing import NamedTuple

from .tokenizer import TOKEN_MAX, Term, find_signed, fold, folded_lengths, is_unspaced

SNIPPET_MAX = 240
"""The approximate length of a snippet, in characters."""

_LEAD = 60
_MARKS_MAX = 200
_CUT = "…"


class Span(NamedTuple):
    """An occurrence of term number `term` in a text."""

    start: int
    end: int
    term: int


def find_spans(text: str, terms: Sequence[Term]) -> list[Span]:
    """Return the occurrences of the terms, in order and without overlaps.

    Of a frequent term, only the first are returned.
    """
    folded = fold(text)
    joined = folded.replace(" ", "")
    places = range(len(text) + 1) if text.isascii() else _places(text)
    signed = [(word, Span(start, end, 0)) for word, start, end in find_signed(text)]
    found = [span._replace(term=number) for number, term in enumerate(terms) for w, span in signed if (w,) in term.runs]
    found += [
        Span(places[start], places[end], number)
        for number, term in enumerate(terms)
        for run in term.runs
        if "".join(run) in joined
        for start, end in islice(
            _occurrences(folded, text, places, run, begun=term.begun or len(run[-1]) >= TOKEN_MAX), _MARKS_MAX
        )
    ]
    spans: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, -span.end)):
        if not spans or span.start >= spans[-1].end:
            spans.append(span)
    return spans


def _places(text: str) -> Sequence[int]:
    """Return a map from each position in the folded text to the position in the text."""
    lengths = folded_lengths(text)
    if lengths.count(1) == len(lengths):
        return range(len(text) + 1)
    places = [place for place, length in enumerate(lengths) for _ in range(length)]
    return [*places, len(text)]


def _occurrences(
    folded: str, text: str, places: Sequence[int], run: Sequence[str], *, begun: bool
) -> Iterator[tuple[int, int]]:
    for start, end in _places_of_word(folded, run[0]) if len(run) == 1 else _places_of_run(folded, run):
        if _is_border(folded, start, text, places[start]) and (begun or _is_border(folded, end, text, places[end])):
            yield start, end


def _places_of_word(folded: str, word: str) -> Iterator[tuple[int, int]]:
    start = folded.find(word)
    while start >= 0:
        end = start + len(word)
        yield start, end
        start = folded.find(word, end)


def _places_of_run(folded: str, run: Sequence[str]) -> Iterator[tuple[int, int]]:
    return (found.span() for found in re.finditer(" *+".join(map(re.escape, run)), folded))


def _is_border(folded: str, at: int, text: str, place: int) -> bool:
    """Whether a word, or a part of an identifier, begins or ends at this position."""
    if at in (0, len(folded)) or " " in (folded[at - 1], folded[at]):
        return True
    if is_unspaced(folded[at - 1]) or is_unspaced(folded[at]):
        return True
    before, after, next_one = text[place - 1], text[place], text[place + 1 : place + 2]
    return (after.isupper() and (not before.isupper() or next_one.islower())) or before.isdigit() != after.isdigit()


def make_snippet(text: str, terms: Sequence[Term]) -> str:
    """Return the part of a text that contains the most terms, as HTML, or its beginning if it contains none."""
    spans = find_spans(text, terms)
    start = _best_start(spans)
    end = min(start + SNIPPET_MAX, len(text))
    start, end = _whole_words(text, start, end)
    pieces = [_CUT] if start else []
    at = start
    for span in spans:
        if span.start >= start and span.end <= end:
            pieces += [escape(text[at : span.start]), "<mark>", escape(text[span.start : span.end]), "</mark>"]
            at = span.end
    pieces.append(escape(text[at:end]))
    if end < len(text):
        pieces.append(_CUT)
    return " ".join("".join(pieces).split())


def _best_start(spans: Sequence[Span]) -> int:
    best = start = 0
    for number, first in enumerate(spans):
        seen = set()
        for span in spans[number : number + SNIPPET_MAX]:
            if span.end > first.start + SNIPPET_MAX - _LEAD:
                break
            seen.add(span.term)
        if len(seen) > best:
            best, start = len(seen), max(first.start - _LEAD, 0)
    return start


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Move both ends to word boundaries if these are near."""
    if start:
        space = text.find(" ", start, start + _LEAD // 2)
        start = space + 1 if space >= 0 else start
    if end < len(text):
        space = text.rfind(" ", end - _LEAD // 2, end)
        end = space if space >= 0 else end
    return start, end
