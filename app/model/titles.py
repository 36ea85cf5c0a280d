"""Titles as they are sorted and searched: without case and accents, in no particular language's order."""

from __future__ import annotations

from unicodedata import combining, normalize

_ACCENT = 200
"""The lowest combining class of what is attached above or below a letter; vowel signs and the like have lower ones."""


def fold_title(title: str | None) -> str:
    """Return what a title is sorted by; a part of a title is in it when its own fold is in the title's. None: "".

    Compatibility forms count as their letters (Unicode's NFKD), accents are taken off, cases are folded.
    """
    if title is None:
        return ""
    plain = title.replace("\0", " ")
    if plain.isascii():
        return plain.lower()
    decomposed = normalize("NFKD", normalize("NFKD", plain).casefold())
    return "".join(letter for letter in decomposed if combining(letter) < _ACCENT)
