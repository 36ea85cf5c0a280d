"""Images in events: the bytes of a data URL, and their type, which only the bytes tell."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_WEBP_AT = slice(8, 12)
_PIECE_CHARS = 1 << 18
"""A multiple of 4, which base64 needs."""


class Image(NamedTuple):
    """An image's media type and its bytes, decoded piece by piece, which raise ValueError where they are no base64."""

    media_type: str
    pieces: Iterator[bytes]


def parse_data_url(url: str) -> Image | None:
    """Return the image in a base64 data URL, or None if it is no PNG, JPEG, GIF or WebP, whatever the URL says.

    An SVG is none, because a browser runs the scripts in it.
    """
    comma = url.find(",")
    if not url.startswith("data:") or not url.endswith(";base64", 0, max(comma, 0)):
        return None
    pieces = _decode(url, comma + 1)
    try:
        begin = next(pieces, b"")
    except ValueError:
        return None
    if begin.startswith(b"RIFF") and begin[_WEBP_AT] == b"WEBP":
        media_type: str | None = "image/webp"
    else:
        media_type = next((name for magic, name in _MAGIC if begin.startswith(magic)), None)
    return None if media_type is None else Image(media_type, chain([begin], pieces))


def _decode(url: str, begin: int) -> Iterator[bytes]:
    """Yield the decoded bytes. To decode 20 MB at once would hold Python's lock for 0.1 s, and copy them four times."""
    for offset in range(begin, len(url), _PIECE_CHARS):
        end = offset + _PIECE_CHARS
        piece = url[offset:end]
        if end < len(url) and "=" in piece:
            raise ValueError("base64 ends before the end of the URL")
        yield b64decode(piece, validate=True)
