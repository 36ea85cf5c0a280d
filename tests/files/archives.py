"""Archives made for tests, the hostile ones among them."""

from __future__ import annotations

import json
import stat
import struct
import warnings
import zipfile
from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from tests.builders import make_event, make_id, make_meta, make_state

ONE = make_id(1)

Entry = tuple[str | zipfile.ZipInfo, bytes]


def good_entries(conversation_id: str = ONE, prefix: str | None = None) -> list[Entry]:
    """Return the entries of a whole conversation."""
    at = f"{conversation_id}/" if prefix is None else prefix
    return [
        (f"{at}meta.json", json.dumps(make_meta(conversation_id)).encode()),
        (f"{at}base_state.json", json.dumps(make_state(conversation_id)).encode()),
        *((f"{at}events/event-{n:05d}-{make_event(n)['id']}.json", json.dumps(make_event(n)).encode()) for n in (0, 1)),
    ]


def make_zip(entries: Iterable[Entry], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with these entries, whatever their names are."""
    raw = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(raw, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in entries:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else _named(name, archive.compression), data)
    return raw.getvalue()


def _named(name: str, method: int) -> zipfile.ZipInfo:
    """Return an entry of any name: a ZipInfo that is made with it would end the name at its first NUL."""
    info = zipfile.ZipInfo("-")
    info.filename, info.compress_type = name, method
    return info


def entry(name: str, mode: int, data: bytes = b"x") -> Entry:
    """Return an entry of this Unix mode."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info, data


def patched(raw: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """Return bytes in which texts of one length are replaced by others of that length."""
    for old, new in changes:
        assert len(old) == len(new)
        assert old in raw
        raw = raw.replace(old, new)
    return raw


def with_field(raw: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    """Return a zip in which a field of every record that begins with `signature` has this value."""
    changed = bytearray(raw)
    place = raw.find(signature)
    while place >= 0:
        struct.pack_into(form, changed, place + offset, value)
        place = raw.find(signature, place + 4)
    return bytes(changed)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
WRONG_NAME = f"{ONE}/observations/AAAAAAAA"


def hostile_zips() -> dict[str, bytes]:
    """Return zips that must be refused, by what is wrong with them."""
    good = good_entries()
    inside = f"{ONE}/"
    names = {
        "traversal": f"{inside}../../evil",
        "traversal at the top": "../evil",
        "traversal in the middle": f"{inside}events/../../../evil",
        "traversal with backslashes": f"{inside}..\\..\\evil",
        "absolute": "/etc/evil",
        "two slashes": "//evil",
        "drive letter": "C:/evil",
        "drive letter inside": f"{inside}C:evil",
        "network path": "\\\\server\\share\\evil",
        "dot": f"{inside}./evil",
        "empty part": f"{inside}observations//evil",
        "trailing dot": f"{inside}observations/evil.",
        "trailing space": f"{inside}observations/evil ",
        "device": f"{inside}observations/NUL",
        "device with a suffix": f"{inside}observations/com1.json",
        "alternate stream": f"{inside}meta.json:evil",
        "newline": f"{inside}observations/a\nb",
        "escape sequence": f"{inside}observations/\x1b[2J",
        "long name": f"{inside}{'a' * 300}",
        "long path": inside + "a/" * 1200 + "a",
        "deep path": inside + "/".join("a" * 60),
        "case clash": f"{inside}META.json",
        "case clash of directories": f"{inside}Events/x",
        "below a file": f"{inside}meta.json/x",
        "a file in the place of events": f"{inside}events",
        "normal form clash": f"{inside}observations/e\u0301",
        "twice": f"{inside}meta.json",
        "outside, traversal": "other/../../evil",
    }
    zips = {
        what: make_zip([*good, (f"{inside}observations/\u00e9", b"x"), (name, b"evil")]) for what, name in names.items()
    }
    marked = make_zip([*good, (WRONG_NAME, b"evil")])
    zips |= {
        "nul": patched(marked, (WRONG_NAME.encode(), f"{ONE}/observations/A\0../../".encode())),
        "link": make_zip([*good, entry(f"{inside}observations/a", stat.S_IFLNK | 0o777, b"/etc/passwd")]),
        "link to a directory": make_zip([entry(f"{inside}events", stat.S_IFLNK | 0o777, b"/tmp"), *good]),
        "pipe": make_zip([*good, entry(f"{inside}observations/a", stat.S_IFIFO | 0o600)]),
        "device file": make_zip([*good, entry(f"{inside}observations/a", stat.S_IFBLK | 0o600)]),
        "directory with content": make_zip([*good, entry(f"{inside}observations/", stat.S_IFDIR | 0o755)]),
        "encrypted": with_field(with_field(make_zip(good), CENTRAL, 8, "<H", 1), LOCAL, 6, "<H", 1),
        "other method": make_zip(good, method=zipfile.ZIP_BZIP2),
        "unknown method": with_field(make_zip(good), CENTRAL, 10, "<H", 77),
        "two directories of one id": make_zip([*good, *good_entries(prefix=f"{ONE.upper()}/")]),
        "names differ": with_local_name(marked, b"/observations/AAAAAAAA", b"/observations/BBBBBBBB"),
        "wrong checksum": with_field(make_zip(good), CENTRAL, 16, "<I", 1),
        "declared smaller": with_field(make_zip(good), CENTRAL, 24, "<I", 1),
        "declared larger": with_field(make_zip(good), CENTRAL, 24, "<I", 100_000),
        "declared huge": with_field(make_zip(good), CENTRAL, 24, "<I", 0xFFFF_FFF0),
        "packed huge": with_field(make_zip(good), CENTRAL, 20, "<I", 0xFFFF_FFF0),
        "offset beyond": with_field(make_zip(good), CENTRAL, 42, "<I", 0x7FFF_FFFF),
        "overlapping": with_field(make_zip(good), CENTRAL, 42, "<I", 0),
        "directory cut off": make_zip(good)[:-60],
        "begun only": make_zip(good)[:40],
        "size of the directory lies": with_field(make_zip(good), END, 12, "<I", 1 << 31),
        "no conversation": make_zip([("readme.txt", b"hello")]),
        "empty": make_zip([]),
        "no zip": b"PK\x03\x04 this is none",
        "nothing": b"",
        "text": b"hello",
        "no id": make_zip(good_entries(prefix="talk/")[2:]),
        "outside of conversations alone": make_zip([(f"{ONE}/observations/a", b"x")]),
    }  # fmt: skip
    return zips


def with_local_name(raw: bytes, old: bytes, new: bytes) -> bytes:
    """Return a zip in which a name is another one in the entry itself than in the table of contents."""
    return raw.replace(old, new, 1)


def make_lines(*lines: object, conversation_id: str = ONE) -> bytes:
    """Return JSON Lines of a conversation: lines as JSON or as they are, and the first and last around them."""
    body = [
        {"convstore": "conversation", "version": 1, "id": conversation_id},
        *lines,
        {"convstore": "end", "id": conversation_id, "lines": 1 + len(lines)},
    ]
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in body)


def file_line(name: str, **content: Any) -> dict[str, Any]:
    """Return a file line."""
    return {"convstore": "file", "name": name, **(content or {"text": "x"})}


def hostile_lines() -> dict[str, bytes]:
    """Return JSON Lines that must be refused, by what is wrong with them."""
    event = make_event(0)
    whole = make_lines(event)
    begin, end = whole.splitlines(keepends=True)[0], whole.splitlines(keepends=True)[-1]
    return {
        "traversal": make_lines(event, file_line("../evil")),
        "absolute": make_lines(event, file_line("/etc/evil")),
        "backslash": make_lines(event, file_line("..\\evil")),
        "nul": make_lines(event, file_line("a\0b")),
        "lone surrogate": make_lines(event, b'{"convstore":"file","name":"\\ud800","text":"x"}'),
        "twice": make_lines(event, file_line("a"), file_line("a")),
        "case clash": make_lines(event, file_line("a"), file_line("A")),
        "below a file": make_lines(event, file_line("a"), file_line("a/b")),
        "a file is a directory": make_lines(event, file_line("a/b"), file_line("a")),
        "event twice": make_lines(event, file_line(f"events/event-00000-{event['id']}.json")),
        "event without an id": make_lines({"kind": "MessageEvent"}),
        "event with a path for an id": make_lines({"id": "../../../../evil"}),
        "event with a number for an id": make_lines({"id": 12345678}),
        "array": make_lines(event, [1]),
        "no JSON": make_lines(event, b"{"),
        "not UTF-8": make_lines(event, b'{"id":"\xff"}'),
        "empty line": make_lines(event, b""),
        "nested deeply": make_lines(
            event, b'{"convstore":"file","name":"a","json":' + b"[" * 5000 + b"]" * 5000 + b"}"
        ),
        "unknown line": make_lines(event, {"convstore": "directory", "name": "a"}),
        "file without content": make_lines(event, {"convstore": "file", "name": "a"}),
        "content is no text": make_lines(event, file_line("a", text=1)),
        "no base64": make_lines(event, file_line("a", base64="*")),
        "name is no text": make_lines(event, {"convstore": "file", "name": 1, "text": "x"}),
        "no end": begin + json.dumps(event).encode() + b"\n",
        "cut in a line": whole[:-40],
        "too few lines": begin + end,
        "other end": begin + json.dumps(event).encode() + b"\n" + end.replace(ONE.encode(), make_id(2).encode()),
        "wrong digest": whole.replace(b'"lines": 2', b'"lines": 2, "sha256": "00"'),
        "no beginning": json.dumps(event).encode() + b"\n" + end,
        "newer version": whole.replace(b'"version": 1', b'"version": 2'),
        "no version": whole.replace(b', "version": 1', b""),
        "no id": whole.replace(ONE.encode(), b"0"),
        "no conversation": make_lines(file_line("a")),
        "what follows is none": whole + b"{}\n",
        "the second is damaged": whole + make_lines(event, file_line("/"), conversation_id=make_id(2)),
        "twice with other content": whole + make_lines(make_event(1)),
        "base64 of a lock alone": make_lines(file_line(".owner_lease.lock", base64=b64encode(b"x").decode())),
    }
