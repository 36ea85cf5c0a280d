"""Headers of requests."""

from __future__ import annotations

import pytest

from app.api.headers import join_header


@pytest.mark.parametrize(
    ("given", "joined"),
    [([], b""), ([(b"host", b"a")], b"a"), ([(b"host", b"a"), (b"origin", b"b"), (b"host", b"c")], b"a, c")],
)
def test_a_repeated_header_is_joined_with_commas(given: list[tuple[bytes, bytes]], joined: bytes) -> None:
    assert join_header({"type": "http", "headers": given}, b"host") == joined
