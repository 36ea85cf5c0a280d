"""Ranking: how well a text matches a query.

As in BM25, a word scores higher the more often it occurs, with diminishing returns, and higher in a shorter text.
Unlike BM25, rare words do not score higher: rarity changes with every new message, so paging would skip or repeat hits.
A score depends only on the text, the query and the time of the newest match. Only the beginning of a long text is read,
and each word counts at least once there: reading 5,000 texts of 32,768 characters with accents took 2.6 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from unicodedata import normalize

from .tokenizer import Term, as_written

RANKED = 5000
"""The maximum number of matches that are ranked, the newest ones, unless a search asks for fewer."""

SCORED = 2000
"""The number of characters of a text that are read."""

_OFTEN = 1.2
_LENGTH = 0.75
_USUAL_LENGTH = 400
_TITLE = 2.0
_RECENT = 0.2
_HALF_LIFE_H = 30 * 24

_SHORT = _OFTEN * (1 - _LENGTH)
_LONGER = _OFTEN * _LENGTH / _USUAL_LENGTH
_MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u031b\u0323\u0327\u0328"
"""The accents of most languages, as separate characters after NFKD."""

Score = Callable[[str, bool, int], int]
"""Takes a text, whether it is a title, and its age in hours. Returns the score in millionths."""


def make_score(terms: Sequence[Term]) -> Score:
    """Return a function that scores texts by these terms. A text's age counts back from the newest match."""
    firsts = [[normalize("NFKD", as_written(run[0])) for run in term.runs] for term in terms]
    words = [(first, others) for first, *others in firsts]

    def score(text: str, is_title: bool, age_h: int) -> int:
        looked_at = text[:SCORED]
        folded = looked_at.lower() if looked_at.isascii() else _fold(looked_at)
        longer = _SHORT + _LONGER * len(text)
        least = 1 if len(text) > SCORED else 0
        fit = 0.0
        for word, others in words:
            often = max(folded.count(word), least)
            for other in others:
                often = max(often, folded.count(other))
            fit += often / (often + longer)
        return round(fit * _recent(age_h) * (_TITLE if is_title else 1.0))

    return score


def _fold(text: str) -> str:
    """Return a text without case, accents and width. Approximates the tokenizer in a third of its time."""
    folded = normalize("NFKD", text.casefold())
    for mark in _MARKS:
        folded = folded.replace(mark, "")
    return folded


@lru_cache(maxsize=4096)
def _recent(age_h: int) -> float:
    return 1e6 * (_OFTEN + 1) * (1 + _RECENT * math.exp2(-age_h / _HALF_LIFE_H))
