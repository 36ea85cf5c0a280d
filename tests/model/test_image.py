"""Images in data URLs."""

from __future__ import annotations

from base64 import b64encode

import pytest

from app.model.image import Image, parse_data_url

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 8


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a..", "image/gif"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
    ],
)
def test_the_type_of_an_image_is_that_of_its_bytes(data: bytes, kind: str) -> None:
    assert parse_data_url(url(data, "image/svg+xml")) == Image(data, kind)


@pytest.mark.parametrize(
    "wrong",
    [
        url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        url(b"<html>"),
        "data:image/png;base64,%%%",
        "data:image/png,abc",
        "https://example.org/a.png",
        "",
    ],
)
def test_what_is_no_image_of_these_types_is_none(wrong: str) -> None:
    assert parse_data_url(wrong) is None
