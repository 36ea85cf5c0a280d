"""The words of a text as PostgreSQL stores them: a tsvector that convstore's own tokenizer made."""

from __future__ import annotations

from collections import defaultdict

from ...model.text.tokenizer import words_of

_PLACES_MAX = 256
_PLACE_MAX = 16_383
"""PostgreSQL's limits: the places that it keeps of a word, and the last place in a text."""


def as_tsvector(text: str) -> str:
    """Return the words of a text with their places, as the text of a tsvector.

    PostgreSQL keeps the first 256 places of a word and the first 16,383 of a text. Further words are found too, but
    not as part of a phrase.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for word, place in words_of(text):
        places[word].append(place)
    return " ".join(f"'{word}':{_as_text(found)}" for word, found in places.items())


def _as_text(places: list[int]) -> str:
    return ",".join(str(place) for place in places[:_PLACES_MAX] if place <= _PLACE_MAX) or str(_PLACE_MAX)
