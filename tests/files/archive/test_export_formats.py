"""The bytes of an export."""

from __future__ import annotations

import gc
import inspect
import json
import os
import re
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from app.files.archive.export_formats import make_encoder
from app.files.archive.export_reader import read_files
from app.model.archive_format import ArchiveFile, ExportFormat
from app.model.conversation import LOOK_BACK
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id, make_message_event, write_event

ONE = ConversationId(make_id(1))
MANY = 10_000


def encoded(root: Path, kind: ExportFormat) -> bytes:
    encoder = make_encoder(kind)
    return b"".join(encoder.add(ONE, read_files(root, make_id(1)))) + b"".join(encoder.end())


@pytest.mark.parametrize("kind", [one for one in ExportFormat if one is not ExportFormat.HTML])
def test_an_export_whose_client_does_not_read_keeps_no_file(kind: ExportFormat) -> None:
    files = [ArchiveFile("meta.json", b"{}")]
    for number in range(3):
        event = make_message_event(number, "said " * 1000) | {"source": "user"}
        files.append(ArchiveFile(f"events/event-{number:05}-{event['id']}.json", json.dumps(event).encode()))
    pieces = make_encoder(kind).add(ONE, iter(files))
    for _ in pieces:
        held = inspect.getgeneratorlocals(pieces).values()  # type: ignore[arg-type]
        assert not [value for value in held if isinstance(value, ArchiveFile)]
        assert not [value for value in held if isinstance(value, bytes) and len(value) > 1000]


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


@pytest.mark.parametrize("kind", [one for one in ExportFormat if one is not ExportFormat.HTML])
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


@pytest.mark.parametrize("title", [None, " "])
def test_markdown_without_a_title_is_headed_by_the_preview(tmp_path: Path, title: str | None) -> None:
    prompt = make_event(0, kind="SystemPromptEvent", source="agent", llm_message=None)
    make_conversation(tmp_path, events=[prompt, make_message_event(1, "Fix\nthe *build*")], meta={"title": title})
    text = encoded(tmp_path, ExportFormat.MARKDOWN).decode()
    assert text.startswith("# Fix the \\*build\\*\n\n- id: 00000000-")
    assert text.index("- id: ") < text.index("system prompt, 0 tools") < text.index("\n## user\n")


def test_markdown_of_a_conversation_that_no_user_began_is_whole(tmp_path: Path) -> None:
    thoughts = [make_message_event(number, f"thought {number}", source="agent") for number in range(LOOK_BACK + 2)]
    for number, events in ((1, thoughts), (2, thoughts[:2]), (3, [])):
        root = tmp_path / str(number)
        make_conversation(root, events=events, meta={"title": None})
        text = encoded(root, ExportFormat.MARKDOWN).decode()
        assert text.startswith("# (no title)\n\n- id: ")
        assert [int(said) for said in re.findall(r"thought (\d+)", text)] == [*range(len(events))]


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
