"""Bytes that are kept: single values are replaced, everything else stays to the byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableFile
from app.model.json_splice import parse_raw_object

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=6)


@pytest.mark.parametrize(
    ("raw", "values", "expected"),
    [
        (b'{"a":1,"b":2}', {"a": b"10"}, b'{"a":10,"b":2}'),
        (b'{ "a" : 1 ,\n "b" : {"a": 5} }', {"b": b"[]"}, b'{ "a" : 1 ,\n "b" : [] }'),
        (b'{"a":1}', {"c": b'"x"'}, b'{"a":1,"c":"x"}'),
        (b"{}", {"c": b"1", "d": b"2"}, b'{"c":1,"d":2}'),
        (b'{"a":"}{\\"a\\":,","b":2}', {"b": b"3"}, b'{"a":"}{\\"a\\":,","b":3}'),
        (b'{"\\u0061":1}', {"a": b"2"}, b'{"\\u0061":2}'),
        (b'{"a":1,"a":2}', {"a": b"3"}, b'{"a":1,"a":3}'),
        (b'{"a":{"a":[{"a":1}]},"b":1.50}', {"a": b"0"}, b'{"a":0,"b":1.50}'),
    ],
)
def test_only_what_is_set_changes(raw: bytes, values: dict[str, bytes], expected: bytes) -> None:
    assert parse_raw_object(raw).with_values(values).raw == expected


@pytest.mark.long
@given(json_objects, json_objects, json_objects, st.booleans())
def test_setting_is_what_a_dictionary_does(
    before: dict[str, Any], first: dict[str, Any], second: dict[str, Any], indented: bool
) -> None:
    raw = orjson.dumps(before, option=orjson.OPT_INDENT_2 if indented else 0)
    kept = parse_raw_object(raw)
    for values in (first, second):
        kept = kept.with_values({name: orjson.dumps(value) for name, value in values.items()})
        assert dict(kept.spans) == dict(parse_raw_object(kept.raw).spans)
    expected = before | first | second
    assert orjson.loads(kept.raw) == expected
    for name, value in expected.items():
        assert orjson.loads(kept.find(name) or b"") == value


@pytest.mark.parametrize(
    "text", ["", "[]", "[1]", "{", '{"a":', '{"a" 1}', '{"a": 1,}', '{"a": 1} x', "{1: 2}", '{"a":' + "[" * 99999]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile):
        parse_raw_object(text.encode())
