"""The lines of commands in the audit trail."""

from __future__ import annotations

import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest

from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command

ONE, TWO = (dashed(ConversationId(make_id(number))) for number in (1, 2))


@pytest.fixture
def trail(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The audit file of a store with two conversations."""
    make_conversation(root, 1)
    make_conversation(root, 2)
    path = tmp_path / "audit.log"
    monkeypatch.setenv("CONVSTORE_STORE", str(root))
    monkeypatch.setenv("CONVSTORE_AUDIT_FILE", str(path))
    return path


def read(trail: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trail.read_text().splitlines()]


@pytest.mark.parametrize(
    ("command", "act", "route", "ids"),
    [
        (("rename", ONE, "a title that no trail shows"), "write", "rename", [ONE]),
        (("tag", ONE, "area=store"), "write", "tag", [ONE]),
        (("archive", ONE, TWO), "write", "archive", [ONE, TWO]),
        (("delete", ONE), "write", "delete", [ONE]),
        (("repair", ONE), "write", "repair", [ONE]),
        (("erase", ONE, "--yes"), "write", "erase", [ONE]),
        (("prune", "--older-than", "1m", "--yes"), "write", "prune", [ONE, TWO]),
        (("export", ONE, "--format", "jsonl", "--output", "-"), "export", "export", [ONE]),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_a_command_that_changes_or_exports_has_one_line(
    trail: Path, convstore: Command, command: tuple[str, ...], act: str, route: str, ids: list[str]
) -> None:
    assert convstore(*command).code == 0
    [line] = read(trail)
    assert sorted(line.pop("conversations")) == ids
    assert {name: line[name] for name in list(line)[4:]} == {
        "audit": act,
        "result": "done",
        "method": "COMMAND",
        "route": route,
        "status": 0,
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "uid": os.getuid(),
        "pid": line["pid"],
    }
    assert (line["logger"], line["level"]) == ("audit", "info")
    assert "no trail shows" not in trail.read_text()
    assert stat.S_IMODE(trail.stat().st_mode) == 0o600


def test_what_goes_to_the_trash_comes_back_or_goes_for_good(trail: Path, convstore: Command) -> None:
    convstore("delete", ONE, TWO)
    convstore("restore", ONE)
    convstore("trash", "empty", "--yes")
    lines = read(trail)
    assert [(line["route"], line["conversations"]) for line in lines] == [
        ("delete", [ONE, TWO]),
        ("restore", [ONE]),
        ("trash empty", [TWO]),
    ]


def test_a_fork_and_an_import_name_what_they_made(trail: Path, convstore: Command, tmp_path: Path) -> None:
    made = convstore("fork", ONE).out.strip()
    convstore("export", TWO, "--output", tmp_path / "two.zip")
    convstore("import", tmp_path / "two.zip", "--new-ids")
    fork, _, imported = read(trail)
    assert fork["conversations"] == [ONE, made]
    assert (imported["route"], len(imported["conversations"])) == ("import", 1)
    assert imported["conversations"] != [TWO]


def test_what_changes_nothing_has_no_line(trail: Path, convstore: Command) -> None:
    for command in (
        ("list",),
        ("show", ONE),
        ("delete", ONE, "--dry-run"),
        ("erase", ONE, "--dry-run"),
        ("rename", ONE, "x", "--dry-run"),
        ("prune", "--older-than", "999w", "--yes"),
    ):
        assert convstore(*command).code == 0
    assert convstore("delete", "ffffffff").code == 2
    assert not trail.exists() or read(trail) == []


def test_a_command_that_fails_halfway_says_so(trail: Path, convstore: Command) -> None:
    assert convstore("tag", ONE, "a tag without a value").code == 2
    [line] = read(trail)
    assert (line["result"], line["status"], line["conversations"]) == ("failed", 2, [ONE])


def test_a_command_whose_line_cannot_be_written_changes_nothing(
    trail: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSTORE_AUDIT_FILE", str(trail / "nowhere"))
    trail.touch()
    refused = convstore("delete", ONE)
    assert (refused.code, "CONVSTORE_AUDIT_FILE" in refused.err) == (2, True)
    assert convstore("count").out.strip() == "2"


def test_without_an_audit_file_there_is_no_line(
    trail: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONVSTORE_AUDIT_FILE")
    ran = convstore("delete", ONE)
    assert (ran.code, ran.err) == (0, "")
    assert not trail.exists()
