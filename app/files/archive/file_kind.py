"""The kind of a file to import: a zip, JSON Lines, or something else, which the error then names."""

from __future__ import annotations

import zipfile
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from ...errors import ArchiveRefused
from ...model.archive_format import ExportFormat

_BEGINNING_BYTES = 512
_TAR_AT = 257
_UNPACK = "unpack it, and import the directory"
_OTHERS = (
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"SQLite format 3\0", "a SQLite database", "import the directory of the conversations"),
    (BOM_UTF16_LE, "text in UTF-16", "save it as UTF-8"),
    (BOM_UTF16_BE, "text in UTF-16", "save it as UTF-8"),
    (b"[", "a JSON array", "export as zip or jsonl"),
)
_NEITHER = "export as zip or jsonl, or import a directory"


def find_format(path: Path, name: str) -> ExportFormat:
    """Return the format of a file, by its content: zip or JSON Lines.

    Raises:
        ArchiveRefused: it is neither, or cannot be read. The message names the file `name` and says its kind.
    """
    try:
        with path.open("rb") as file:
            first = file.read(_BEGINNING_BYTES)
        text = first.removeprefix(BOM_UTF8).lstrip()
        if text.startswith(b"{"):
            return ExportFormat.JSONL
        if first.startswith(b"PK") or zipfile.is_zipfile(path):
            return ExportFormat.ZIP
    except OSError as error:
        raise ArchiveRefused(f"{name} cannot be read ({error.strerror})") from error
    what, advice = _describe(first, text)
    raise ArchiveRefused(f"{name} is {what}, and neither a zip nor JSON Lines of an export; {advice}")


def _describe(first: bytes, text: bytes) -> tuple[str, str]:
    if not text.strip(b"\0"):
        return ("full of NULs" if text else "empty"), _NEITHER
    if first[_TAR_AT:].startswith(b"ustar"):
        return "a tar archive", _UNPACK
    for beginning, what, advice in _OTHERS:
        if first.startswith(beginning) or text.startswith(beginning):
            return what, advice
    is_text = b"\0" not in text and "\ufffd" not in text.decode(errors="replace")[:-4]  # the last character may be cut
    return ("other text" if is_text else "of an unknown kind"), _NEITHER
