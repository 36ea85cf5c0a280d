"""A dry run promises only what would be done, and what fails says why, with which file, and what mends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from app.files import trash
from app.files.trash import list_trash
from tests.builders import make_conversation, make_event, make_id, second_process
from tests.cli.conftest import Command
from tests.cli.test_writing import _OWN

ONE = make_id(1)


@pytest.mark.parametrize("command", [("rename", ONE, "x"), ("tag", ONE, "a=b")])
def test_a_dry_run_refuses_what_another_process_writes_to(
    root: Path, convstore: Command, command: tuple[str, ...]
) -> None:
    make_conversation(root)
    with second_process(_OWN, root, ONE) as other:
        assert other.hear() == "open"
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
    assert f"base_state.json: the file is empty; `convstore repair {ONE}` mends" in ran.err


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


def test_prune_ends_with_an_error_when_moves_failed(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(_source: Path, _target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    make_conversation(root)
    monkeypatch.setattr(trash, "rename", rename)
    asked = ("prune", "--older-than", "1m", "--before", "2099-01-01", "--yes", "--store", root)
    ran = convstore(*asked)
    assert (ran.code, list_trash(root)) == (2, [])
    assert ran.out.endswith("\n0 moved into the trash\n")
    assert "Input/output error" in ran.err
    assert convstore(*asked, "--json").code == 2


def test_a_list_of_what_is_unreadable_says_why(root: Path, convstore: Command) -> None:
    (make_conversation(root) / "base_state.json").write_text("")
    assert "A title; base_state.json: the file is empty\n" in convstore("list", "--unreadable", "--store", root).out
