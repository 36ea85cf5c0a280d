"""`convstore export` and `import`."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from app.files.archive import export_reader
from app.files.durable import new_file
from app.model.archive_format import ArchiveFile, LeftOutFile
from tests.builders import make_conversation, make_id, names_in
from tests.cli.conftest import Command


def test_one_conversation_is_written_to_a_file(
    three: Path, tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = convstore("export", make_id(2), "--store", three)
    file = tmp_path / f"{make_id(2)}.zip"
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"1 conversation, {file.stat().st_size:,} bytes: {file.name}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {make_id(2)}


def test_all_or_those_of_a_status_go_into_one_file(three: Path, tmp_path: Path, convstore: Command) -> None:
    ran = convstore("export", "--all", "--store", three, "-o", tmp_path / "all.jsonl", "--format", "jsonl", "--json")
    some = convstore("export", "--all", "--status", "idle", "--store", three, "-o", tmp_path / "some.zip", "--json")
    assert (ran.json["conversations"], ran.json["left_out"]) == (3, [])
    assert ran.json["size_bytes"] == (tmp_path / "all.jsonl").stat().st_size
    assert some.json["conversations"] == 1


def test_a_file_for_each_can_be_resumed(
    three: Path, tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "out"
    written: list[str] = []

    def counted(path: Path, *, replace: bool) -> AbstractContextManager[BinaryIO]:
        written.append(path.name)
        return new_file(path, replace=replace)

    monkeypatch.setattr("app.cli.archives.new_file", counted)
    convstore("export", "--all", "--to", to, "--store", three)
    (to / f"{make_id(2)}.zip").unlink()
    assert convstore("export", "--all", "--to", to, "--resume", "--store", three).code == 0
    assert sorted(path.name for path in to.iterdir()) == [f"{make_id(number)}.zip" for number in (1, 2, 3)]
    assert written == [f"{make_id(number)}.zip" for number in (1, 2, 3, 2)]


def test_what_exists_is_not_overwritten_without_force(three: Path, tmp_path: Path, convstore: Command) -> None:
    file = tmp_path / "a.zip"
    file.write_text("mine")
    refused = convstore("export", make_id(1), "--store", three, "-o", file)
    assert (refused.code, file.read_text()) == (2, "mine")
    assert "use --force to replace it" in refused.err
    into = convstore("export", make_id(1), "--store", three, "--to", file)
    assert (into.code, "a.zip cannot be made" in into.err) == (2, True)
    assert convstore("export", make_id(1), "--store", three, "-o", file, "--force").code == 0
    assert zipfile.is_zipfile(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "conversations"]


def test_secrets_come_out_only_when_asked_for(root: Path, tmp_path: Path, convstore: Command) -> None:
    state = {"agent": {"kind": "Agent", "llm": {"api_key": "planted"}}}
    path = make_conversation(root, state=state, meta={"secrets": {"A": "planted"}})
    convstore("export", "--all", "--store", root, "-o", tmp_path / "masked.jsonl", "--format", "jsonl")
    convstore("export", "--all", "--store", root, "-o", tmp_path / "whole.zip", "--with-secrets")
    assert b"planted" not in (tmp_path / "masked.jsonl").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        assert archive.read(f"{path.name}/base_state.json") == (path / "base_state.json").read_bytes()


def test_what_is_left_out_is_told(root: Path, tmp_path: Path, convstore: Command) -> None:
    path = make_conversation(root)
    (path / "meta.json").write_text("{")
    ran = convstore("export", "--all", "--store", root, "-o", tmp_path / "a.zip")
    listed = convstore("export", "--all", "--store", root, "-o", tmp_path / "a.zip", "--force", "--json")
    reason = "it is damaged, so that secrets in it cannot be found"
    assert ran.err == f"00000000-0000-4000-8000-000000000001: meta.json is left out: {reason}\n"
    assert listed.json["left_out"] == [
        {"conversation": "00000000-0000-4000-8000-000000000001", "name": "meta.json", "reason": reason}
    ]


@pytest.fixture
def forbidden(three: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, in which the second conversation may not be read."""
    plain = export_reader.read_files

    def refuse(root: Path, directory: str, **how: Any) -> Iterator[ArchiveFile | LeftOutFile]:
        if directory == make_id(2):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)
        yield from plain(root, directory, **how)

    monkeypatch.setattr(export_reader, "read_files", refuse)
    return three


def test_one_that_may_not_be_read_is_left_out_and_the_others_are_not(
    forbidden: Path, tmp_path: Path, convstore: Command
) -> None:
    ran = convstore("export", "--all", "--store", forbidden, "-o", tmp_path / "a.zip", "--json")
    assert (ran.code, ran.json["conversations"]) == (2, 2)
    assert [one["reason"] for one in ran.json["left_out"]] == ["it cannot be read (Permission denied)"]


def test_no_file_is_written_of_one_that_may_not_be_read(
    forbidden: Path, tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_text("what was exported when it could be read")
    ran = convstore("export", make_id(2), "--store", forbidden, "-o", tmp_path / "a.zip", "--force")
    assert (ran.code, ran.out, "it cannot be read (Permission denied)" in ran.err) == (2, "", True)
    assert (tmp_path / "a.zip").read_text().startswith("what was")
    asked = ("export", "--all", "--store", forbidden, "--to", tmp_path / "out", "--resume")
    assert convstore(*asked).code == 2
    assert names_in(tmp_path / "out") == [f"{make_id(number)}.zip" for number in (1, 3)]
    monkeypatch.undo()
    assert convstore(*asked).code == 0
    assert (tmp_path / "out" / f"{make_id(2)}.zip").exists()


def test_standard_output_takes_the_bytes_alone(root: Path, convstore: Command) -> None:
    make_conversation(root)
    ran = convstore("export", "--all", "--store", root, "-o", "-", "--format", "jsonl", "--json")
    assert [json.loads(line).get("convstore") for line in ran.out.splitlines()][0::5] == ["conversation", "end"]


@pytest.mark.parametrize(
    "arguments",
    [(), (make_id(1), "--all"), (make_id(1), "--status", "idle"), ("--all", "-o", "x", "--to", "y"), (make_id(9),)],
)
def test_wrong_use_is_explained(root: Path, convstore: Command, arguments: tuple[str, ...]) -> None:
    make_conversation(root)
    ran = convstore("export", *arguments, "--store", root)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("convstore: ")


def test_a_place_that_cannot_be_written_is_explained(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root)
    ran = convstore("export", "--all", "--store", root, "-o", tmp_path / "no" / "where.zip")
    assert ran.code == 2
    assert "cannot be written (No such file or directory)" in ran.err


def test_what_was_exported_is_imported(three: Path, tmp_path: Path, convstore: Command) -> None:
    other = tmp_path / "other"
    other.mkdir()
    convstore("export", "--all", "--store", three, "--to", tmp_path / "out")
    dry = convstore("import", tmp_path / "out", "--store", other, "--dry-run")
    ran = convstore("import", tmp_path / "out", "--store", other)
    again = convstore("import", tmp_path / "out", "--store", other, "--json")
    assert dry.out.endswith("3 would be imported, 0 unchanged, 0 skipped\n")
    assert ran.out.splitlines()[0] == "00000000-0000-4000-8000-000000000001  import     4 files"
    assert ran.out.endswith("3 imported, 0 unchanged, 0 skipped\n")
    assert [item["action"] for item in again.json["items"]] == ["unchanged"] * 3
    assert convstore("count", "--store", other).out == "3\n"


def test_an_id_that_is_taken_is_told_with_what_to_do(three: Path, tmp_path: Path, convstore: Command) -> None:
    convstore("export", make_id(1), "--store", three, "-o", tmp_path / "a.zip")
    (three / make_id(1) / "meta.json").write_text("{}")
    refused = convstore("import", tmp_path / "a.zip", "--store", three)
    assert refused.code == 2
    assert "Choose with --on-clash" in refused.err
    copied = convstore("import", tmp_path / "a.zip", "--store", three, "--on-clash", "new-id")
    assert f"4 files, was {make_id(1)[:8]}" in copied.out


@pytest.mark.parametrize("given", ["nowhere.zip", "."])
def test_nothing_to_import_is_explained(root: Path, tmp_path: Path, convstore: Command, given: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = convstore("import", tmp_path / "empty" / given, "--store", root)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("convstore: ")


@pytest.mark.parametrize(("name", "begins"), [("a.jsonl", b"{"), ("a.md", b"#"), ("a.zip", b"PK"), ("a", b"PK")])
def test_an_export_has_the_format_of_its_name(
    root: Path, tmp_path: Path, convstore: Command, name: str, begins: bytes
) -> None:
    make_conversation(root)
    assert convstore("export", "--all", "-o", tmp_path / name, "--store", root).code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_markdown_cannot_be_imported(root: Path, tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "x.md").write_text("# A talk\n")
    ran = convstore("import", tmp_path / "x.md", "--store", root)
    assert (ran.code, "is Markdown, which cannot be imported" in ran.err) == (2, True)
