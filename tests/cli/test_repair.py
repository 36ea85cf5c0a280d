"""repair, as a user runs it: what it says, its exit codes, a dry run."""

from __future__ import annotations

from pathlib import Path

from tests.builders import make_conversation, make_id, write_event
from tests.cli.conftest import Command


def test_it_says_what_it_did_and_the_doctor_is_content(root: Path, convstore: Command) -> None:
    directory = make_conversation(root, 1)
    (directory / "base_state.json").write_text("")
    (root / ".convstore").chmod(0o700)
    convstore("index", "sync", "--store", root)
    assert convstore("doctor", "--store", root).code == 1
    would = convstore("repair", make_id(1)[:8], "--store", root, "--dry-run")
    assert would.out.startswith("would be mended  base_state.json: the file is empty; made again from the log")
    assert ((directory / "base_state.json").read_text(), would.code) == ("", 0)
    done = convstore("repair", make_id(1), "--store", root)
    said = done.out.splitlines()
    assert said[0].startswith("mended  base_state.json: the file is empty; made again from the log")
    assert said[1].startswith(f"a copy of the earlier files is in .trash/{make_id(1)}.")
    assert convstore("doctor", "--store", root).code == 0
    again = convstore("repair", make_id(1), "--store", root)
    assert (again.code, again.out) == (0, "there is nothing to mend\n")


def test_what_is_left_is_told_with_exit_code_1(root: Path, convstore: Command) -> None:
    write_event(make_conversation(root, 1), 1).write_bytes(b"")
    ran = convstore("repair", make_id(1), "--store", root, "--json")
    assert ran.code == 1
    assert ran.json["mended"] == []
    assert [text.rsplit(": ", 1)[1] for text in ran.json["left"]] == ["the file is empty"]
