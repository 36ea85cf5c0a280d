"""Arguments that are not UTF-8: paths may be such, anything else is told in a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command

BYTE = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    "command",
    [
        ("rename", make_id(1), f"x{BYTE}"),
        ("rename", make_id(1), f"x{BYTE}", "--dry-run"),
        ("fork", make_id(1), "--title", BYTE),
        ("list", "--title", BYTE),
        ("list", "--workspace", BYTE),
        ("list", "--model", BYTE),
        ("list", "--agent-kind", BYTE),
        ("list", "--tag", f"area:{BYTE}"),
        ("count", "--by", f"tag:{BYTE}"),
    ],
    ids=ascii,
)
def test_text_that_is_not_utf8_is_refused_in_a_line(root: Path, convstore: Command, command: tuple[str, ...]) -> None:
    make_conversation(root)
    ran = convstore(*command, "--store", root)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert "UTF-8" in ran.err


def test_paths_that_are_not_utf8_are_used_and_told(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root)
    index = tmp_path / f"index{BYTE}.db"
    status = convstore("index", "status", "--store", root, "--index", f"sqlite:///{index}", "--json")
    assert (status.json["index"], index.exists()) == (str(index), True)
    for number, command in enumerate((("export", make_id(1), "-o"), ("db", "backup"))):
        file = tmp_path / f"file{number}{BYTE}.zip"
        ran = convstore(*command, file, "--store", root, "--json")
        assert (ran.code, str(file) in ran.json.values(), file.exists()) == (0, True, True)
    assert convstore("list", "--store", root, "--index", f"sqlite:///{index}").code == 0
