"""A score says which text fits better, whatever script it is written in."""

from __future__ import annotations

from itertools import pairwise

import pytest

from app.model.text.ranking import SCORED, make_score
from app.model.text.tokenizer import parse_question


def score(question: str, text: str, *, is_title: bool = False, age_h: int = 0) -> int:
    return make_score(parse_question(question).terms)(text, is_title, age_h)


def test_a_word_counts_the_more_the_oftener_but_less_and_less_so() -> None:
    often = [score("lease ", ("lease " * times).ljust(60, ".")) for times in range(5)]
    gains = [after - before for before, after in pairwise(often)]
    assert often[0] == 0
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > 0


def test_short_texts_titles_and_what_is_new_count_more() -> None:
    plain = score("lease ", "a lease of " + "words " * 20)
    assert score("lease ", "a lease of words") > plain
    assert score("lease ", "a lease of " + "words " * 20, is_title=True) == pytest.approx(2 * plain, abs=1)
    assert plain > score("lease ", "a lease of " + "words " * 20, age_h=24) > 0.8 * plain


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("cafe ", "Café, CAFÉ, cafe"),
        ("CAFÉ ", "Café, CAFÉ, cafe"),
        ("который ", "Который который КОТОРЫЙ"),
        ("が ", "が が が"),
        ("한국 ", "한국 한국 한국"),
        ("Việt ", "Việt viet VIỆT"),
        ("straße ", "STRASSE strasse Straße"),
        ("abc ", "ABC abc abc"),
        ("fooBar ", "foo bar, fooBar, foo_bar"),
    ],
)
def test_each_way_of_writing_a_word_counts(question: str, text: str) -> None:
    three = score("one ", "one one one".ljust(len(text), "."))
    assert score(question, text) == pytest.approx(three, rel=0.35)
    assert score(question, text) > score("one ", "one".ljust(len(text), "."))


def test_of_a_long_text_the_beginning_is_looked_at_and_a_word_behind_it_counts_once() -> None:
    filler = "é" * SCORED
    behind = score("lease ", f"{filler} lease lease lease")
    assert 0 < behind == score("lease ", f"lease{filler}".ljust(len(filler) + 18, "."))
    assert score("lease ", f"lease lease {filler}".ljust(len(filler) + 18, ".")) > behind
