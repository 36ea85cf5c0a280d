"""`convstore rename`, `tag`, `fork`, `archive`, `unarchive`, `pin` and `unpin`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_event, make_id
from tests.cli.conftest import Command, owned_by_another_process

ONE = make_id(1)


def meta(path: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((path / "meta.json").read_text())
    return value


def test_renaming_and_tagging(root: Path, convstore: Command) -> None:
    path = make_conversation(root, state={"tags": {"old": "1", "gone": "2"}})
    assert convstore("rename", ONE, "A new name", "--store", root).code == 0
    ran = convstore("tag", ONE, "area=store", "gone=", "--store", root)
    assert (ran.code, ran.out) == (0, "area=store old=1\n")
    assert (meta(path)["title"], meta(path)["tags"]) == ("A new name", {"old": "1", "area": "store"})
    assert convstore("rename", ONE, " ", "--store", root).code == 2
    assert convstore("tag", ONE, "area", "--store", root).code == 2
    shown = convstore("show", ONE, "--store", root, "--json").json["conversation"]
    assert (shown["title"], shown["tags"]) == ("A new name", {"old": "1", "area": "store"})


def test_forking_prints_the_new_id(root: Path, convstore: Command) -> None:
    make_conversation(root, events=4)
    ran = convstore("fork", ONE, "--title", "Copy", "--from-event", make_event(1)["id"], "--store", root)
    made = ran.out.strip()
    shown = convstore("show", made, "--store", root, "--json").json
    assert (shown["conversation"]["title"], len(shown["events"])) == ("Copy", 2)


def test_archiving_and_pinning_is_undone_and_repeated(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    for _ in range(2):
        assert convstore("archive", ONE, "--store", root).out == f"archived: {dashed(ConversationId(ONE))}\n"
        assert convstore("pin", ONE, "--store", root).code == 0
    assert convstore("count", "--store", root).out == "0\n"
    assert json.loads((path / "convstore.json").read_text()) == {"archived": True, "pinned": True}
    assert convstore("unpin", ONE, "--store", root).code == 0
    assert convstore("unarchive", ONE, "--store", root, "--json").json["dry_run"] is False
    assert convstore("count", "--store", root).out == "1\n"
    assert json.loads((path / "convstore.json").read_text()) == {"archived": False, "pinned": False}


@pytest.mark.parametrize(
    "command",
    [("rename", ONE, "x"), ("archive", ONE), ("pin", ONE), ("tag", ONE, "a=b"), ("fork", ONE), ("delete", ONE)],
)
def test_a_dry_run_changes_nothing(root: Path, convstore: Command, command: tuple[str, ...]) -> None:
    make_conversation(root)
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    ran = convstore(*command, "--dry-run", "--store", root, "--json")
    assert (ran.code, ran.json["dry_run"]) == (0, True)
    assert {path: path.read_bytes() for path in root.rglob("*.json")} == before


@pytest.mark.parametrize("command", [("rename", ONE, " "), ("tag", ONE, "A=b"), ("fork", ONE, "--from-event", "x")])
def test_a_dry_run_finds_what_would_be_refused(root: Path, convstore: Command, command: tuple[str, ...]) -> None:
    make_conversation(root)
    assert convstore(*command, "--dry-run", "--store", root).code == 2


@pytest.mark.parametrize("command", [("rename", ONE, "x"), ("tag", ONE, "a=b")])
def test_a_dry_run_refuses_what_another_process_writes_to(
    root: Path, convstore: Command, command: tuple[str, ...]
) -> None:
    make_conversation(root)
    with owned_by_another_process(root, ONE):
        ran = convstore(*command, "--dry-run", "--store", root)
    assert (ran.code, ran.out, "is owned by convstore-" in ran.err) == (2, "", True)


@pytest.mark.parametrize("command", [("rename", ONE, "x"), ("tag", ONE, "a=b"), ("fork", ONE)])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_cannot_be_read_is_refused_and_told(
    root: Path, convstore: Command, command: tuple[str, ...], dry: tuple[str, ...]
) -> None:
    (make_conversation(root) / "base_state.json").write_text("")
    ran = convstore(*command, *dry, "--store", root)
    assert (ran.code, ran.out) == (2, "")
    assert f"conversation {ONE} cannot be " in ran.err
    assert f"base_state.json: the file is empty; run `convstore repair {ONE}`, which makes all safe repairs" in ran.err


def test_a_fork_names_the_event_that_cannot_be_read(root: Path, convstore: Command) -> None:
    [file] = make_conversation(root, events=2).glob("events/event-00001-*")
    file.write_text("")
    ran = convstore("fork", ONE, "--from-event", make_event(1)["id"], "--dry-run", "--store", root)
    assert (ran.code, f"events/{file.name}: the file is empty" in ran.err) == (2, True)


def test_a_dry_run_of_a_fork_checks_the_title(root: Path, convstore: Command) -> None:
    make_conversation(root)
    assert convstore("fork", ONE, "--title", " ", "--dry-run", "--store", root).code == 2


def test_a_dry_run_of_tags_says_what_would_be(root: Path, convstore: Command) -> None:
    make_conversation(root)
    assert convstore("tag", ONE, "a=b", "--dry-run", "--store", root).out == "would be tagged: a=b\n"


def test_what_another_process_writes_to_is_refused_unless_forced(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    with owned_by_another_process(root, ONE):
        ran = convstore("rename", ONE, "x", "--store", root)
        assert (ran.code, "is owned by convstore-" in ran.err) == (2, True)
        assert convstore("delete", ONE, "--store", root).code == 2
        assert convstore("delete", ONE, "--force", "--store", root).code == 0
    assert not path.exists()
