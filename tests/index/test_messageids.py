"""A message's id tells its hour and its conversation, and rises with time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from app.errors import IndexUnusable
from app.index.sqlite.text_index import CONVERSATION_OF_MATCH, NUMBERS, first_id, hour_of, is_among

HOUR_US = 3_600_000_000
LAST_KEY = 2**25 - 1
NOW_US = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize("key", [1, 77, LAST_KEY])
@pytest.mark.parametrize("hour", [0, 1, NOW_US // HOUR_US, 2**20 - 1])
def test_every_id_of_a_conversation_and_hour_tells_both(key: int, hour: int) -> None:
    first = first_id(hour * HOUR_US + HOUR_US - 1, key)
    with closing(sqlite3.connect(":memory:")) as database:
        for one in (first, first + NUMBERS - 1):
            [told] = database.execute(
                f"SELECT {CONVERSATION_OF_MATCH} FROM (SELECT ? AS rowid) AS message_fts", [one]
            ).fetchone()
            assert (hour_of(one), told) == (hour, key)
            assert is_among(one, first)
            assert 0 < one < 2**63
    assert not is_among(first + NUMBERS, first)
    assert not is_among(first - 1, first)


def test_a_later_hour_has_higher_ids_whatever_the_conversation() -> None:
    assert first_id(NOW_US, LAST_KEY) + NUMBERS <= first_id(NOW_US + HOUR_US, 0)


def test_times_before_1970_and_after_2089_and_unknown_ones_have_the_first_and_the_last_hour() -> None:
    assert first_id(None, 5) == first_id(-HOUR_US * 9, 5) == first_id(0, 5)
    assert first_id(2**62, 5) == first_id(HOUR_US * 2**20, 5) < 2**63


def test_a_key_without_room_is_refused() -> None:
    with pytest.raises(IndexUnusable, match="index rebuild"):
        first_id(0, LAST_KEY + 1)
