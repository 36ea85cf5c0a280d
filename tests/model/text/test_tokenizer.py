from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.text.tokenizer import as_written, fold_title, parse_question, split


@pytest.mark.parametrize(
    ("title", "folded"),
    [
        (None, ""),
        ("Fix the Parser", "fix the parser"),
        ("École À la carte", "ecole a la carte"),
        ("E\u0301cole", "ecole"),
        ("STRASSE straße", "strasse strasse"),
        ("İstanbul", "istanbul"),
        ("Ǆ ﬁ ① \uff26\uff55\uff4c\uff4c", "dz fi 1 full"),
        ("Ελλάδα ΈΛΛΆΔΑ", "ελλαδα ελλαδα"),
        ("日本語 한국어", "日本語 한국어".replace("한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165")),
        ("हिन्दी", "हिन्दी"),
        ("a\0b", "a b"),
    ],
)
def test_a_title_is_folded(title: str | None, folded: str) -> None:
    assert fold_title(title) == folded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("C++, c# and (F#)", ["c++", "c#", "f#"]),
        ("on .NET; C/C++", [".net", "c++"]),
        ("é C++ and .NET", [".net", "c++"]),
        ("ASP.NET example.net a+b C+ #c x#y c#1 c+++ ## C++17", []),
    ],
)
def test_words_with_signs_are_words_of_their_own(text: str, words: list[str]) -> None:
    found = [as_written(word) for word in split(text).split() if as_written(word) != word]
    assert sorted(found) == sorted(words)
    for word in words:
        [term] = parse_question(word).terms
        assert [as_written(one) for run in term.runs for one in run] == [word]


@pytest.mark.parametrize("question", ["C", "c", "C+", "C++17", '"c# f#"'])
def test_a_question_without_one_such_word_is_as_before(question: str) -> None:
    assert "\ue001" not in str(parse_question(question).match)
    assert "\ue002" not in str(parse_question(question).match)


def test_a_word_with_signs_can_be_excluded() -> None:
    [term] = parse_question("parser -C++").excluded
    assert as_written(term.runs[0][0]) == "c++"


@given(st.text())
def test_folding_twice_is_folding_once(title: str) -> None:
    assert fold_title(fold_title(title)) == fold_title(title)


@given(st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"), st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"), st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"))
def test_a_part_of_a_title_is_a_part_of_its_fold(before: str, part: str, after: str) -> None:
    assert fold_title(part) in fold_title(before + part + after)
