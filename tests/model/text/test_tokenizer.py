from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.text.tokenizer import fold_title


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


@given(st.text())
def test_folding_twice_is_folding_once(title: str) -> None:
    assert fold_title(fold_title(title)) == fold_title(title)


@given(st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"), st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"), st.text(alphabet="aAäÄßéÉ ñ中한ﬁx"))
def test_a_part_of_a_title_is_a_part_of_its_fold(before: str, part: str, after: str) -> None:
    assert fold_title(part) in fold_title(before + part + after)
