from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidToken
from app.model.filters import ConversationFilter, EventFilter, Status, digest
from app.model.page import Cursor, EventOrder, SortOrder, decode_token, encode_token

INT64 = st.integers(-(2**63), 2**63 - 1)
CURSOR = Cursor(1_790_856_000_000_000, "45685019b9b6446bbd2d1e96d93e73eb", None)
QUERY = digest(SortOrder.CREATED_AT, ConversationFilter())


def token_of(fields: object) -> str:
    return urlsafe_b64encode(orjson.dumps(fields)).rstrip(b"=").decode()


@given(st.builds(Cursor, INT64, st.text(), st.none() | INT64), st.text(max_size=20))
def test_a_token_leads_to_its_place(cursor: Cursor[int], query: str) -> None:
    assert decode_token(encode_token(cursor, query), query, int) == cursor


@given(st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_a_token_carries_keys_of_each_type(number: float, text: str) -> None:
    assert decode_token(encode_token(Cursor(number, "a", number), ""), "", float) == (number, "a", number)
    assert decode_token(encode_token(Cursor(text, "a", text), ""), "", str) == (text, "a", text)


@pytest.mark.parametrize(("key", "key_type"), [("1", int), (1, float), (1.5, str), (1.5, int), (None, str), ([], str)])
def test_a_token_with_a_key_of_another_type_is_refused(key: object, key_type: type[int | float | str]) -> None:
    for token in ([1, QUERY, key, "a", None], [1, QUERY, key_type(), "a", key or ["other"]]):
        with pytest.raises(InvalidToken, match="damaged"):
            decode_token(token_of(token), QUERY, key_type)


def test_a_token_needs_no_escape_in_a_url() -> None:
    assert encode_token(Cursor(-1, "~?&#/ÿ", 2**63 - 1), QUERY).replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        decode_token(text, QUERY, int)


@given(st.binary())
def test_any_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidToken):
        decode_token(urlsafe_b64encode(raw).decode(), QUERY, int)


@given(st.recursive(st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | st.text(), st.lists))
def test_any_other_json_is_refused(fields: object) -> None:
    with pytest.raises(InvalidToken):
        decode_token(token_of(fields), QUERY, int)


@pytest.mark.parametrize(
    "fields",
    [
        [0, QUERY, *CURSOR],
        [2, QUERY, *CURSOR],
        [1, QUERY, *CURSOR, None],
        [1, QUERY, *CURSOR[:2]],
        [1, QUERY, "1", "a", None],
        [1, QUERY, 1.5, "a", None],
        [1, QUERY, 1, 2, None],
        [1, QUERY, 1, "a", "b"],
        [1, QUERY, 2**63, "a", None],
        [1, QUERY, 1, "a", 2**63],
        [1, None, 1, "a", None],
        {"key": 1},
    ],
)
def test_a_token_of_another_version_or_form_is_refused(fields: object) -> None:
    with pytest.raises(InvalidToken, match="damaged or from another version"):
        decode_token(token_of(fields), QUERY, int)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 10])
def test_a_token_that_was_cut_is_refused(cut: int) -> None:
    with pytest.raises(InvalidToken):
        decode_token(encode_token(CURSOR, QUERY)[:-cut], QUERY, int)


ASKED: dict[str, Any] = {
    field.name: True if field.type in ("bool", "bool | None") else "1" if "str" in str(field.type) else 1
    for field in fields(ConversationFilter)
    if field.name != "statuses"
}
QUERIES = [
    digest(SortOrder.CREATED_AT, ConversationFilter()),
    digest(SortOrder.CREATED_AT_DESC, ConversationFilter()),
    digest(SortOrder.UPDATED_AT, ConversationFilter()),
    digest(SortOrder.CREATED_AT, ConversationFilter((Status.IDLE,))),
    digest(SortOrder.CREATED_AT, ConversationFilter((Status.ERROR,))),
    digest(SortOrder.CREATED_AT, ConversationFilter((Status.ERROR, Status.IDLE))),
    *(digest(SortOrder.CREATED_AT, replace(ConversationFilter(), **{name: value})) for name, value in ASKED.items()),
    digest(EventOrder.TIMESTAMP, EventFilter(), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(), scope="b"),
    digest(EventOrder.TIMESTAMP_DESC, EventFilter(), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(kind="x"), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(source="x"), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(body="x"), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(timestamp_gte_us=1), scope="a"),
    digest(EventOrder.TIMESTAMP, EventFilter(timestamp_lt_us=1), scope="a"),
]


def test_every_query_has_a_digest_of_its_own() -> None:
    assert len(set(QUERIES)) == len(QUERIES)


@pytest.mark.parametrize("query", QUERIES[1:])
def test_a_token_of_another_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidToken, match="belongs to another query"):
        decode_token(encode_token(CURSOR, query), QUERY, int)


@pytest.mark.parametrize(
    ("order", "column", "descending"),
    [
        (SortOrder.CREATED_AT, "created_at", False),
        (SortOrder.UPDATED_AT, "updated_at", False),
        (SortOrder.CREATED_AT_DESC, "created_at", True),
        (SortOrder.UPDATED_AT_DESC, "updated_at", True),
        (SortOrder.TITLE, "title_key", False),
        (SortOrder.EVENT_COUNT_DESC, "event_count", True),
    ],
)
def test_an_order_tells_its_column_and_direction(order: SortOrder, column: str, descending: bool) -> None:
    assert (order.column, order.descending) == (column, descending)
