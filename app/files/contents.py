"""A zip's table of contents while the zip is written: on disk, where zipfile would keep 0.6 kB a file in memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from zipfile import ZipInfo

import orjson

MEMORY_BYTES = 1 << 20
"""So much is kept in memory before a temporary file is made."""

_FIELDS = ("flag_bits", "CRC", "compress_size", "file_size", "header_offset")


class Contents(list[ZipInfo]):
    """In the place of `ZipFile.filelist`: takes each file as it is written, and gives all of them at the end."""

    def __init__(self, make_entry: Callable[[str], ZipInfo]) -> None:
        """`make_entry` returns an entry of this name as it was before it was written."""
        super().__init__()
        self._make_entry = make_entry
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - it lives as long as this
        weakref.finalize(self, self._file.close)
        self._count = 0

    def append(self, entry: ZipInfo, /) -> None:
        """Note a file."""
        self._file.write(orjson.dumps([entry.filename, *(getattr(entry, name) for name in _FIELDS)]) + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ZipInfo]:
        if self._file.closed:  # an archive that is given up is closed by the garbage collector, in any order
            return
        self._file.seek(0)
        for line in self._file:
            name, *values = orjson.loads(line)
            entry = self._make_entry(name)
            for field, value in zip(_FIELDS, values, strict=True):
                setattr(entry, field, value)
            yield entry


class NoNames(dict[str, ZipInfo]):
    """In the place of `ZipFile.NameToInfo`, which is for reading and for a warning about names that come twice."""

    def __setitem__(self, name: str, entry: ZipInfo, /) -> None:
        """Keep nothing."""
