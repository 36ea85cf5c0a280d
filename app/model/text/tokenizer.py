"""The tokenizer: splits texts into words for the index, and parses search queries.

One function splits both, so that they agree. Text is folded (case, accents, width). Runs of letters and digits are
words; in scripts without spaces each character is a word. After the text come the parts of its identifiers, separated
by a border word: `HTTPServerError` becomes the word httpservererror and the words http server error. Then SQLite's
`ascii` tokenizer splits at ASCII characters that are neither letters nor digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from unicodedata import category, combining, normalize

SPLIT_VERSION = 2
"""Increased when `split` changes. An index with another version is filled again."""

PREFIX_MIN = 3
"""The shortest prefix that is searched for. A prefix of one letter took 2.9 s with a million messages."""

TERMS_MAX = 32
"""The maximum number of words and phrases in a query; further ones are ignored."""

QUESTION_MAX = 10_000
_PHRASE_MAX = 32
TOKEN_MAX = 64
"""The maximum length of a word; further characters are ignored."""

_IDENTIFIER_MAX = 256
_PARTS_MAX = 32

_BETWEEN = " \ue000 "
"""A border word."""
_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_DROPPED = re.compile("[\u00ad\u0300-\u036f\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]")
_LONG = re.compile(r"[^\x00-/:-@\[-`{-\x7f]{65,}")
_HAS_PARTS = re.compile(
    r"[a-z][A-Z]|[A-Z]{2}[a-z]|[0-9][A-Z][a-z]|(?<![0-9A-Za-z])[A-Za-z]+[0-9]+(?![0-9A-Za-z])", re.ASCII
)
_MAY_HAVE_PARTS = re.compile(r"[A-Z0-9](?<=\S.)")
"""A capital or digit inside a word. The class comes first, because `re` then skips all other characters."""
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+")
_SIGNED = re.compile(r"(?<![\w+#.])(?:[a-z]\+\+|[a-z]#|\.net)(?![\w+#])", re.ASCII | re.IGNORECASE)
"""Words whose signs tell them from a single letter: C++, C#, F#, .NET."""
_SIGNS = {ord("+"): "\ue001", ord("#"): "\ue002", ord("."): "\ue003"}
_WRITTEN = {ord(stored): chr(sign) for sign, stored in _SIGNS.items()}
_ASCII_TOKEN = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_TERM = re.compile(r'(-?)"([^"]*)"?|(\S+)')

Tokens = tuple[str, ...]


class _Folding(dict[int, str]):
    """A cached map from a character to its folded form: letters, a space, or a word of its own between spaces."""

    def __init__(self, around: str) -> None:
        self._around = around

    def __missing__(self, code: int) -> str:
        self[code] = folded = self._fold(chr(code))
        return folded

    def _fold(self, char: str) -> str:
        if _DROPPED.match(char):
            return ""
        bare = _DROPPED.sub("", normalize("NFKD", char.casefold()))
        folded = "".join(one if _is_word(one) else " " for one in normalize("NFC", bare).casefold())
        if _UNSPACED.search(folded) or (len(folded) == 1 and category(folded) == "So"):
            return self._around.join(("", *folded, ""))
        return folded or " "


def _is_word(char: str) -> bool:
    return char.isalnum() or category(char)[0] == "M" or (category(char) == "So" and char >= "\u2600")


_WORDS = _Folding(" ")
_IN_PLACE = _Folding("")


def fold(text: str) -> str:
    """Return a text without case, accents and width. Characters that are not part of a word become spaces."""
    return text.translate(_IN_PLACE)


def folded_lengths(text: str) -> list[int]:
    """Return, for each character of a text, the length of its folded form."""
    return [len(_IN_PLACE[code]) for code in map(ord, text)]


def is_unspaced(char: str) -> bool:
    """Whether a folded character is a word by itself."""
    return _UNSPACED.match(char) is not None or category(char) == "So"


def split(text: str) -> str:
    """Return the words of a text, then the parts of its identifiers, as text for SQLite's `ascii` tokenizer."""
    if not text:
        return ""
    text = text.replace("\0", " ")
    words = text.lower() if text.isascii() else text.translate(_WORDS)
    if len(text) > TOKEN_MAX and max(map(len, text.split()), default=0) > TOKEN_MAX:
        words = _LONG.sub(lambda found: found[0][:TOKEN_MAX], words)
    groups = [words]
    if _MAY_HAVE_PARTS.search(text):
        for word in sorted(filter(_MAY_HAVE_PARTS.search, set(text.split()))):
            parts = _PARTS.findall(word) if len(word) <= _IDENTIFIER_MAX and _HAS_PARTS.search(word) else ()
            if 1 < len(parts) <= _PARTS_MAX:
                groups.append(" ".join(parts).translate(_WORDS))
    if "++" in text or "#" in text or ".n" in text or ".N" in text:  # faster than `_SIGNED`, which looks at each letter
        groups += sorted({word for word, _, _ in find_signed(text)})
    return _BETWEEN.join(groups)


def words_of(text: str) -> Iterator[tuple[str, int]]:
    """Yield (word, position from 1) for each word that SQLite's `ascii` tokenizer makes of `split(text)`."""
    for place, found in enumerate(_ASCII_TOKEN.finditer(split(text)), 1):
        yield found[0].lower() if found[0].isascii() else found[0].translate(_ASCII_LOWER), place


def find_signed(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (word, start, end) for each word with signs, such as C++. SQLite does not split the yielded word."""
    for found in _SIGNED.finditer(text):
        yield found[0].lower().translate(_SIGNS), found.start(), found.end()


def as_written(word: str) -> str:
    """Return a word of the index as users write it. In the index, the signs of `c++` or `.net` are other characters."""
    return word.translate(_WRITTEN)


def tokens_of(text: str) -> Tokens:
    """Return the words of a text in order, without the parts of identifiers."""
    words = text.translate(_WORDS)
    return tuple(word[:TOKEN_MAX] for word in words.split())


def _parts_of(text: str) -> Tokens:
    """Return the words of a text with every identifier split into its parts."""
    return tokens_of(" ".join(_PARTS.findall(text)))


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase to search for. `runs` are its alternative spellings; with `begun`, the last word is a prefix."""

    runs: tuple[Tokens, ...]
    begun: bool = False

    @property
    def match(self) -> str:
        """The FTS5 expression."""
        found = " OR ".join(self._quoted(run) for run in self.runs)
        return f"({found})" if len(self.runs) > 1 else found

    def _quoted(self, run: Tokens) -> str:
        star = " *" if self.begun and len(run[-1]) >= PREFIX_MIN else ""
        return f'"{" ".join(run)}"{star}'

    def tsquery_in(self, weights: str) -> str:
        """Return the same as a tsquery of PostgreSQL for words with these weights. No word has a quote or backslash."""
        found = " | ".join(" <-> ".join(self._lexemes(run, weights)) for run in self.runs)
        return f"({found})"

    def _lexemes(self, run: Tokens, weights: str) -> list[str]:
        end = f"*{weights}" if self.begun and len(run[-1]) >= PREFIX_MIN else weights
        return [
            f"'{word}':{label}" if label else f"'{word}'"
            for word, label in [*((w, weights) for w in run[:-1]), (run[-1], end)]
        ]


@dataclass(frozen=True)
class Question:
    """A parsed query. A text matches if it contains a term of every group and no excluded term."""

    groups: tuple[tuple[Term, ...], ...]
    excluded: tuple[Term, ...] = ()

    @cached_property
    def match(self) -> str | None:
        """The FTS5 expression, or None if the query has no word to search for."""
        if not self.groups:
            return None
        wanted = " AND ".join(f"({' OR '.join(term.match for term in group)})" for group in self.groups)
        if not self.excluded:
            return wanted
        return f"({wanted}) NOT ({' OR '.join(term.match for term in self.excluded)})"

    def tsquery_in(self, weights: str = "") -> str | None:
        """Return the same as a tsquery of PostgreSQL for words with these weights, or with any."""
        if not self.groups:
            return None
        wanted = [" | ".join(term.tsquery_in(weights) for term in group) for group in self.groups]
        excluded = [f"!{term.tsquery_in(weights)}" for term in self.excluded]
        return " & ".join([*(f"({group})" for group in wanted), *excluded])

    @cached_property
    def completed(self) -> Question | None:
        """The same question with its last word complete, or None if no word is a prefix."""
        if not any(term.begun for term in self.terms):
            return None
        groups = tuple(tuple(replace(term, begun=False) for term in group) for group in self.groups)
        return Question(groups, self.excluded)

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms except the excluded ones."""
        return tuple(term for group in self.groups for term in group)


@lru_cache(maxsize=256)
def parse_question(text: str) -> Question:
    """Parse a user's query: words, "phrases", -excluded words, and OR. All other characters are plain text.

    The last word is a prefix unless a space follows it. Never raises; queries that are too long are cut.
    """
    text = normalize("NFC", text[:QUESTION_MAX].encode(errors="replace").decode().replace("\0", " "))
    groups: list[tuple[Term, ...]] = []
    excluded: list[Term] = []
    joined = joinable = False
    for found in list(_TERM.finditer(text))[: 4 * TERMS_MAX]:
        dash, phrase, word = found.groups()
        if word == "OR" and joinable and found.end() < len(text.rstrip()):
            joined, joinable = True, False
            continue
        excludes = dash == "-" or (word is not None and word[:1] == "-" and word[1:2] not in ("-", ""))
        begun = word is not None and not excludes and found.end() == len(text)
        term = _term(phrase if word is None else word, begun=begun)
        if term is None or len(groups) + len(excluded) >= TERMS_MAX:
            continue
        if excludes:
            excluded.append(term)
        elif joined:
            groups[-1] = (*groups[-1], term)
        else:
            groups.append((term,))
        joined, joinable = False, not excludes
    return Question(tuple(groups), tuple(excluded))


def _term(text: str, *, begun: bool) -> Term | None:
    signed = tuple(word for word, _, _ in find_signed(text))
    if len(signed) == 1 and not tokens_of(_SIGNED.sub(" ", text)):
        return Term((signed,))
    words = tokens_of(text)[:_PHRASE_MAX]
    if not words:
        return None
    parts = _parts_of(text)[:_PHRASE_MAX] if _HAS_PARTS.search(text) else words
    return Term((words,) if parts == words else (words, parts), begun)


_ACCENT = 200
"""The lowest Unicode combining class of accents. Vowel signs and similar marks have lower classes."""


def fold_title(title: str | None) -> str:
    """Return the key for sorting and matching titles, "" for None.

    A title contains a text if its key contains the text's key. Compatibility characters become plain ones (Unicode
    NFKD); accents and case are removed.
    """
    if title is None:
        return ""
    plain = title.replace("\0", " ")
    if plain.isascii():
        return plain.lower()
    decomposed = normalize("NFKD", normalize("NFKD", plain).casefold())
    return "".join(letter for letter in decomposed if combining(letter) < _ACCENT)
