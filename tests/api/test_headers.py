"""Headers of requests."""

from __future__ import annotations

import pytest

from app.api.headers import join_header


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ([], b""),
        ([(b"host", b"a")], b"a"),
        ([(b"host", b"a"), (b"origin", b"b"), (b"host", b"c")], b"a, c"),
        ([(b"host", b""), (b"host", b"c")], b", c"),
    ],
)
def test_a_repeated_header_is_joined_with_commas(given: list[tuple[bytes, bytes]], joined: bytes) -> None:
    assert join_header({"type": "http", "headers": given}, b"host") == joined


def test_a_scope_whose_headers_were_replaced_has_the_new_ones() -> None:
    scope = {"type": "http", "headers": [(b"host", b"a")]}
    assert join_header(scope, b"host") == b"a"
    assert join_header({**scope, "headers": [(b"host", b"b")]}, b"host") == b"b"
    assert join_header(scope, b"host") == b"a"
