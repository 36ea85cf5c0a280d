"""How values pass between Python and PostgreSQL.

PostgreSQL takes no NUL in a text, but files may have one. It is stored as U+FDD0, a code point that Unicode keeps out
of texts, and becomes a NUL again when it is read.
"""

from __future__ import annotations

from typing import Any

from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.numeric import Int8Dumper, NumericBinaryLoader

_STORED = "\ufdd0"


class _TextDumper(Dumper):
    """Writes a text whose type PostgreSQL infers."""

    def dump(self, obj: Any) -> bytes:  # noqa: ANN401
        return (obj.replace("\0", _STORED) if "\0" in obj else obj).encode()  # type: ignore[no-any-return]


class _BoolDumper(Int8Dumper):
    """Writes a truth value as 0 or 1, as SQLite does."""

    def dump(self, obj: Any) -> Any:  # noqa: ANN401
        return super().dump(int(obj))


class _TextLoader(Loader):
    """Reads a text."""

    def load(self, data: Any) -> str:  # noqa: ANN401
        text = bytes(data).decode()
        return text.replace(_STORED, "\0") if _STORED in text else text


class _BinaryTextLoader(_TextLoader):
    """Reads a text that was sent in binary form, which is the same."""

    format = Format.BINARY


class _JsonLoader(Loader):
    """Reads JSON as its text, as SQLite returns it."""

    def load(self, data: Any) -> str:  # noqa: ANN401
        return bytes(data).decode().replace(_STORED, "\\u0000")


class _BinaryJsonLoader(_JsonLoader):
    """Reads JSON that was sent in binary form, which is the same."""

    format = Format.BINARY


class _NumberLoader(Loader):
    """Reads a sum of integers, which PostgreSQL makes a `numeric`."""

    def load(self, data: Any) -> int | float:  # noqa: ANN401
        text = bytes(data).decode()
        return float(text) if "." in text or "N" in text else int(text)


class _BinaryNumberLoader(NumericBinaryLoader):
    """Reads a sum of integers that was sent in binary form."""

    def load(self, data: Any) -> Any:  # noqa: ANN401
        number = super().load(data)
        return int(number) if number.as_tuple().exponent == 0 else float(number)


_TEXT = (_TextLoader, _BinaryTextLoader)
_LOADERS: dict[str, tuple[type[Loader], ...]] = {
    **dict.fromkeys(("text", "varchar", "bpchar"), _TEXT),
    "json": (_JsonLoader, _BinaryJsonLoader),
    "numeric": (_NumberLoader, _BinaryNumberLoader),
}


def set_up(adapters: AdaptersMap) -> None:
    """Use these conversions on a connection. All integers are 64 bits, so that a statement has one type."""
    adapters.register_dumper(str, _TextDumper)
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bool, _BoolDumper)
    for name, loaders in _LOADERS.items():
        for loader in loaders:
            adapters.register_loader(name, loader)
