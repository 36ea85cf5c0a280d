"""JSON Lines that are to be imported: what is in good ones, and that hostile ones are refused."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from app.errors import ArchiveRefused, ArchiveTooLarge
from app.files.archive.import_jsonl import JsonLinesSource
from app.model.archive_format import ArchiveFile, Limits
from app.model.jsonlines import conversation_line, end_line
from app.model.jsonlines import file_line as file_line_of
from tests.builders import make_event, make_id
from tests.files.archives import file_line, hostile_lines, make_lines

LIMITS = Limits(file_bytes=1 << 20, total_bytes=1 << 22, files=100)
HOSTILE = hostile_lines()


def read(path: Path, raw: bytes, limits: Limits = LIMITS) -> dict[str, list[object]]:
    path.write_bytes(raw)
    return {one.id: list(one.files) for one in JsonLinesSource(path, limits).read()}


def test_the_bytes_of_each_file_are_those_that_were_written(tmp_path: Path) -> None:
    event = json.dumps(make_event(0)).encode()
    raw = make_lines(
        b'{"convstore":"file","name":"meta.json","json":{"a": 1.50,  "a":2}}',
        event,
        file_line("x.txt", text="é\n"),
        file_line("y", base64=b64encode(b"\xff\0").decode()),
    )
    assert read(tmp_path / "a.jsonl", raw + make_lines(event, conversation_id=make_id(2))) == {
        make_id(1): [
            ArchiveFile("meta.json", b'{"a": 1.50,  "a":2}'),
            ArchiveFile(f"events/event-00000-{make_event(0)['id']}.json", event),
            ArchiveFile("x.txt", "é\n".encode()),
            ArchiveFile("y", b"\xff\0"),
        ],
        make_id(2): [ArchiveFile(f"events/event-00000-{make_event(0)['id']}.json", event)],
    }


@pytest.mark.parametrize("blank", [b"", b"\n", b"\r\n \r\n"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_what_an_editor_adds_is_no_part_of_it(tmp_path: Path, before: bytes, ending: bytes, blank: bytes) -> None:
    one = conversation_line(make_id(1)) + file_line_of(ArchiveFile("meta.json", b'{"a": 1}'), 0)
    one += end_line(make_id(1), 2, sha256(one).hexdigest())
    raw = before + one.replace(b"\n", ending + blank) + blank
    assert read(tmp_path / "a.jsonl", raw + raw + blank) == {make_id(1): [ArchiveFile("meta.json", b'{"a": 1}')]}


@pytest.mark.parametrize("what", [what for what in HOSTILE if what != "twice with other content"])
def test_hostile_lines_are_refused(tmp_path: Path, what: str) -> None:
    with pytest.raises((ArchiveRefused, ArchiveTooLarge), match=r"a\.jsonl"):
        read(tmp_path / "a.jsonl", HOSTILE[what])


def test_a_line_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ArchiveTooLarge, match="line 2 is longer than"):
        read(tmp_path / "a.jsonl", make_lines(make_event(0, more="x" * 20_000)), Limits(100, 1 << 22, 100))
