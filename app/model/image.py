"""Images in events: the bytes of a data URL, and their type, which only the bytes tell."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import NamedTuple

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_WEBP_AT = slice(8, 12)


class Image(NamedTuple):
    """An image and its media type."""

    data: bytes
    media_type: str


def parse_data_url(url: str) -> Image | None:
    """Return the image in a base64 data URL, or None if it is no PNG, JPEG, GIF or WebP, whatever the URL says.

    An SVG is none, because a browser runs the scripts in it.
    """
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        raw = b64decode(data, validate=True)
    except (Base64Error, ValueError):
        return None
    if raw.startswith(b"RIFF") and raw[_WEBP_AT] == b"WEBP":
        return Image(raw, "image/webp")
    media_type = next((name for magic, name in _MAGIC if raw.startswith(magic)), None)
    return None if media_type is None else Image(raw, media_type)
