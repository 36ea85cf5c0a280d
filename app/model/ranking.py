"""Ranking: how well a text fits what was looked for.

As in BM25 a word counts the more the oftener it stands in a text, less and less so, and the more in a shorter text. But
no word counts more than another for being rare: that would change with every message that is written, and a page would
skip or repeat what moved meanwhile. A score depends on the text, the question and the time of the newest match.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.model.text import Term, fold

_OFTEN = 1.2
_LENGTH = 0.75
_USUAL_LENGTH = 400
_TITLE = 2.0
_RECENT = 0.2
_HALF_LIFE_H = 30 * 24


def score(text: str, terms: Sequence[Term], *, is_title: bool, age_h: int) -> int:
    """Return how well a text fits, in millionths. `age_h` is how many hours it is older than the newest match."""
    folded = text.lower() if text.isascii() else fold(text)
    longer = 1 - _LENGTH + _LENGTH * len(text) / _USUAL_LENGTH
    fit = 0.0
    for term in terms:
        often = max(folded.count(run[0]) for run in term.runs)
        fit += often * (_OFTEN + 1) / (often + _OFTEN * longer)
    recent = 1 + _RECENT * math.exp2(-age_h / _HALF_LIFE_H)
    return round(1e6 * fit * recent * (_TITLE if is_title else 1.0))
