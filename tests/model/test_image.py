"""Images in data URLs."""

from __future__ import annotations

from base64 import b64encode

import pytest

from app.model.image import parse_data_url

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
    image = parse_data_url(url(data, "image/svg+xml"))
    assert image is not None
    assert (image.media_type, b"".join(image.pieces)) == (kind, data)


@pytest.mark.parametrize("more", [0, 1, 2])
def test_a_large_image_is_decoded_in_pieces_that_make_its_bytes(more: int) -> None:
    data = PNG + bytes(range(256)) * 4000 + b"x" * more
    image = parse_data_url(url(data))
    assert image is not None
    pieces = [*image.pieces]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) < len(data) / 4


@pytest.mark.parametrize("place", [500_000, -10])
@pytest.mark.parametrize("wrong", ["=", "%", ""])
def test_a_large_image_that_is_no_base64_somewhere_is_an_error(wrong: str, place: int) -> None:
    whole = url(PNG + bytes(1_000_000))
    image = parse_data_url(f"{whole[:place]}{wrong}{whole[place:][1:]}")
    assert image is not None
    with pytest.raises(ValueError, match=r"base64|padding"):
        b"".join(image.pieces)


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
