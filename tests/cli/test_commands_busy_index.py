"""Commands while another program holds the index: what is on disk is told as done, with a warning."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.files.trash import move_to_trash
from app.model.ids import dashed
from tests.builders import busy_index, make_conversation, make_id, names_in
from tests.cli.conftest import Command
from tests.files.archives import good_entries, make_zip

ONE, TWO, NEW = (make_id(number) for number in (1, 2, 9))
WARNING = "convstore: saved on disk, but not yet in the index: the index is busy."


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("fork", ONE), 3),
        (("trash", "restore", TWO), 3),
        (("delete", ONE), 1),
        (("import", "archive.zip"), 3),
    ],
)
def test_it_warns_and_the_next_list_shows_it(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], shown: int
) -> None:
    monkeypatch.setenv("CONVSTORE_BUSY_TIMEOUT_S", "0.2")
    monkeypatch.chdir(root.parent)
    Path("archive.zip").write_bytes(make_zip(good_entries(NEW)))
    make_conversation(root)
    make_conversation(root, 2)
    make_conversation(root, 3)
    move_to_trash(root, TWO, time.time_ns() // 1000)
    assert convstore("list", "--store", root).code == 0
    with busy_index(root):
        ran = convstore(*arguments, "--store", root, "--json")
    assert (ran.code, ran.err.count("\n"), ran.err.replace("\n", " ")[: len(WARNING)]) == (0, 1, WARNING)
    assert ran.json["dry_run"] is False
    names = {dashed(name) for name in names_in(root) if not name.startswith(".")}
    listed = convstore("list", "--store", root, "--json").json["items"]
    assert {item["id"] for item in listed} == names
    assert len(names) == shown
