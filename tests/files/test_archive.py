"""What an export takes of a conversation's directory, and the bytes that it makes of it."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from app.files.archive.export_formats import make_encoder
from app.files.archive.export_reader import read_files
from app.model.archive_format import ArchiveFile, ExportFormat, LeftOutFile
from app.model.ids import ConversationId
from app.model.json_splice import parse_raw_object
from app.model.jsonlines import file_line
from tests.builders import make_conversation, make_event, make_id, write_event

ONE = ConversationId(make_id(1))
MANY = 10_000


def names(root: Path, *, with_secrets: bool = False) -> list[str]:
    found = read_files(root, make_id(1), with_secrets=with_secrets)
    return [one.name for one in found if isinstance(one, ArchiveFile)]


def left_out(root: Path) -> list[LeftOutFile]:
    return [one for one in read_files(root, make_id(1)) if isinstance(one, LeftOutFile)]


def encoded(root: Path, kind: ExportFormat) -> bytes:
    encoder = make_encoder(kind)
    return b"".join(encoder.add(ONE, read_files(root, make_id(1)))) + b"".join(encoder.end())


def meta_of(root: Path, *, as_listed: bool = True) -> bytes:
    return next(one.raw for one in read_files(root, make_id(1), as_listed=as_listed) if isinstance(one, ArchiveFile))


def test_meta_json_has_the_updated_at_that_lists_show(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=[make_event(0, timestamp="2026-10-02T08:00:00+00:00")])
    before = (path / "meta.json").read_bytes()
    assert meta_of(tmp_path) == before.replace(b"2026-10-01T13:00:00Z", b"2026-10-02T08:00:00Z") != before
    assert meta_of(tmp_path, as_listed=False) == before == (path / "meta.json").read_bytes()


@pytest.mark.parametrize("told", [None, "", "yesterday", "2026-10-01T15:00:00+02:00", "2026-10-01T13:00:00"])
def test_a_meta_json_that_tells_no_time_or_the_same_stays_to_the_byte(tmp_path: Path, told: str | None) -> None:
    path = make_conversation(tmp_path, meta={"updated_at": told}, events=[make_event(0)])
    assert meta_of(tmp_path) == (path / "meta.json").read_bytes()


@pytest.mark.parametrize("raw", [b"", b"torn", b"[]"])
def test_a_meta_json_that_cannot_be_read_goes_as_it_is(tmp_path: Path, raw: bytes) -> None:
    path = make_conversation(tmp_path)
    (path / "meta.json").write_bytes(raw)
    found = next(read_files(tmp_path, make_id(1), with_secrets=True))
    assert found == ArchiveFile("meta.json", raw)


def test_the_order_is_metadata_events_and_the_rest_by_name(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=2)
    (path / "convstore.json").write_text("{}")
    (path / "observations" / "b").mkdir(parents=True)
    (path / "observations" / "b" / "x.txt").write_text("x")
    (path / "observations" / "a.txt").write_text("a")
    assert names(tmp_path) == [
        "meta.json",
        "base_state.json",
        "convstore.json",
        f"events/event-00000-{make_event(0)['id']}.json",
        f"events/event-00001-{make_event(1)['id']}.json",
        "observations/a.txt",
        "observations/b/x.txt",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "owner_lease.json", ".owner_lease.last", ".owner_lease.lock",
        "events/.eventlog.lock", "events/.eventlog-len-2.marker",
        ".meta.json.x.tmp", "acp/key.json",
    ],
)  # fmt: skip
def test_locks_leases_markers_and_credentials_of_a_run_are_no_part_of_it(tmp_path: Path, name: str) -> None:
    path = make_conversation(tmp_path)
    before = names(tmp_path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("{}")
    assert names(tmp_path) == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    before = names(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("s")
    (path / "linked").symlink_to(tmp_path / "secret")
    (path / "linked.txt").symlink_to(tmp_path / "secret" / "file")
    os.mkfifo(path / "pipe")
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["a\\b", "con", "a:b", "new\nline", "dot."])
def test_a_name_that_cannot_be_imported_everywhere_is_left_out_and_told(tmp_path: Path, name: str) -> None:
    path = make_conversation(tmp_path)
    (path / "observations").mkdir()
    (path / "observations" / name).write_text("x")
    [one] = left_out(tmp_path)
    assert one.name == f"observations/{name}"


def test_a_torn_state_is_left_out_for_the_secrets_in_it(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    (path / "base_state.json").write_text('{"agent": {"llm": {"api_key": "planted')
    assert left_out(tmp_path) == [
        LeftOutFile("base_state.json", "it is damaged, so that secrets in it cannot be found")
    ]
    assert "base_state.json" in names(tmp_path, with_secrets=True)


def test_no_head_is_exported_whose_event_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is appended, and HEAD moved, between the look at the names and that at the state."""
    path = make_conversation(tmp_path, events=1)
    from app.files import layout  # noqa: PLC0415

    plain, calls = layout.read_file, iter(range(100))

    def read_file(name: str, dir_fd: int) -> tuple[bytes, int]:
        found = plain(name, dir_fd)
        if name == "base_state.json" and next(calls) == 0:
            write_event(path, 1)
            (path / "base_state.json").write_text(json.dumps({"leaf_event_id": make_event(1)["id"]}))
        return found

    monkeypatch.setattr(layout, "read_file", read_file)
    files = {one.name: one for one in read_files(tmp_path, make_id(1)) if isinstance(one, ArchiveFile)}
    assert json.loads(files["base_state.json"].raw)["leaf_event_id"] == make_event(1)["id"]
    assert f"events/event-00001-{make_event(1)['id']}.json" in files


def test_a_zip_has_agent_servers_layout_and_the_files_bytes(corpus: Path) -> None:
    directory = min(path for path in corpus.iterdir() if len(path.name) == 32)
    encoder = make_encoder(ExportFormat.ZIP)
    raw = b"".join(encoder.add(ConversationId(directory.name), read_files(corpus, directory.name))) + b"".join(
        encoder.end()
    )
    with zipfile.ZipFile(BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[:2] == [f"{directory.name}/meta.json", f"{directory.name}/base_state.json"]
        for name in archive.namelist():
            assert archive.read(name) == (corpus / name).read_bytes()


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_the_bytes_depend_on_the_files_alone(tmp_path: Path, kind: ExportFormat) -> None:
    make_conversation(tmp_path / "a")
    make_conversation(tmp_path / "b")
    for path in (tmp_path / "b").rglob("*"):
        os.utime(path, (1, 1))
    assert encoded(tmp_path / "a", kind) == encoded(tmp_path / "b", kind)


def test_an_event_stands_bare_in_a_line(tmp_path: Path) -> None:
    make_conversation(tmp_path, events=2)
    lines = encoded(tmp_path, ExportFormat.JSONL).splitlines()
    assert [json.loads(line).get("convstore") for line in lines] == ["conversation", "file", "file", None, None, "end"]
    assert json.loads(lines[3]) == make_event(0)


EVENT = "events/event-00000-" + make_event(0)["id"] + ".json"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'{"id":"another"}', "json"),
        (b'{"a": 1.50, "b": "\xc3\xa9"}', "json"),
        (b'{\n "pretty": 1}', "text"),
        (b'{"a": 1}\n', "text"),
        (b"", "text"),
        (b'{"torn": "\xc3\xa9', "text"),
        (b"[1]", "text"),
        (b"\xff\x00", "base64"),
        (json.dumps({"id": make_event(0)["id"], "convstore": "end"}).encode(), "json"),
    ],
)
def test_every_file_finds_a_line_that_keeps_its_bytes(raw: bytes, place: str) -> None:
    line = file_line(ArchiveFile(EVENT, raw), 0)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    members = parse_raw_object(line)
    assert list(members.spans) == ["convstore", "name", place]
    if place == "json":
        assert members.find("json") == raw


def test_markdown_shows_who_said_what_and_escapes_what_would_be_syntax(tmp_path: Path) -> None:
    tool = make_event(
        1,
        kind="ActionEvent",
        source="agent",
        tool_name="terminal",
        action={"command": "echo '```'"},
        llm_message=None,
    )
    bookkeeping = make_event(2, kind="ConversationStateUpdateEvent", key="stats", value={})
    path = make_conversation(tmp_path, events=[make_event(0), tool, bookkeeping], meta={"title": "# A *title*\nhere"})
    write_event(path, 3).write_text("{")
    text = encoded(tmp_path, ExportFormat.MARKDOWN).decode()
    assert text.startswith(
        "# \\# A \\*title\\* here\n\n- id: 00000000-0000-4000-8000-000000000001\n- status: finished\n"
    )
    assert "\n## user\n\n*2026-10-01T12:00:00*\n\nmessage 0\n" in text
    assert "\n## agent uses terminal\n" in text
    assert "````\ncommand: echo '```'\n````\n" in text
    assert "StateUpdate" not in text
    assert "is left out: it is damaged" in text


def test_a_zip_of_many_files_takes_no_memory_for_each(tmp_path: Path) -> None:
    encoder = make_encoder(ExportFormat.ZIP)
    files = (ArchiveFile(f"events/{number}.json", b"{}") for number in range(MANY))
    tracemalloc.start()
    with (tmp_path / "many.zip").open("wb") as written:
        written.writelines(encoder.add(ONE, files))
        written.writelines(encoder.end())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert archive.namelist() == [f"{ONE}/events/{number}.json" for number in range(MANY)]
        assert archive.read(archive.infolist()[-1]) == b"{}"
    assert peak_bytes < 3_500_000


def test_a_zip_that_is_given_up_says_nothing() -> None:
    encoder = make_encoder(ExportFormat.ZIP)
    next(encoder.add(ONE, [ArchiveFile("meta.json", b"{}")]))
    cycle: list[object] = [encoder]
    cycle.append(cycle)  # as with the traceback of an error: then nothing says what is closed first
    del encoder, cycle
    gc.collect()
