"""The token of the change feed."""

from __future__ import annotations

import pytest

from app.errors import InvalidToken
from app.model.change_token import ChangeToken, parse_change_token, token_after_all
from tests.builders import make_id

EPOCH = "0123456789abcdef"


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (ChangeToken(EPOCH, 7), f"{EPOCH}.7."),
        (ChangeToken(EPOCH, 7, make_id(1)), f"{EPOCH}.7.{make_id(1)}"),
        (token_after_all(EPOCH, 7), f"{EPOCH}.7.all"),
        (ChangeToken(EPOCH, 7, make_id(1), 9), f"{EPOCH}.7.{make_id(1)}.9"),
    ],
)
def test_a_token_is_read_as_it_was_written(token: ChangeToken, text: str) -> None:
    assert (token.token, parse_change_token(text)) == (text, token)


@pytest.mark.parametrize(
    "text", ["", "now", f"{EPOCH}.7", f"{EPOCH}.-1.", f"{EPOCH}.7.some", f"{EPOCH}.7..x", "x" * 999]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken, match="is not a token of the change feed; start without `since`"):
        parse_change_token(text)


@pytest.mark.parametrize(
    ("token", "misses"),
    [
        (ChangeToken(EPOCH, 6), True),
        (ChangeToken(EPOCH, 7), True),
        (token_after_all(EPOCH, 7), False),
        (ChangeToken(EPOCH, 8), False),
        (ChangeToken(EPOCH, 3, begun=7), False),
    ],
)
def test_who_stands_before_a_forgotten_deletion_misses_it(token: ChangeToken, *, misses: bool) -> None:
    assert token.misses(7) is misses
