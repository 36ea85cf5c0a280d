"""Tables, JSON and texts, in a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import pytest

from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.cli.conftest import COMMAND, Command, read_terminal

COLUMNS = 80
HOSTILE = "a\x1b[31m\x9b31m\u202eb"
PRINTING = {
    "list": ["list", "--json"],
    "tail": ["tail", make_id(1), "--json"],
    "jsonl": ["export", make_id(1), "--format", "jsonl", "-o", "-"],
    "markdown": ["export", make_id(1), "--format", "markdown", "-o", "-"],
    "html": ["export", make_id(1), "--format", "html", "-o", "-"],
}


def show_in_terminal(*command: object) -> list[str]:
    """Return the lines that a command prints in a terminal of 80 columns, without colours."""
    outside, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, COLUMNS))
    arguments = [str(COMMAND), *(str(one) for one in command)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as shown:
        os.close(terminal)
        said = read_terminal(outside)
    assert shown.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).splitlines()


@pytest.fixture
def titled(root: Path) -> Path:
    """A store with a title as long as titles can be, and a status that is longer than others."""
    make_conversation(root, 1, meta={"title": "long " * 40})
    make_conversation(root, 2, meta={"title": "short"}, state={"execution_status": "waiting_for_confirmation"})
    return root


def test_a_terminal_cuts_the_last_column_alone(titled: Path) -> None:
    _, *rows, _ = show_in_terminal("list", "--store", titled)
    assert {row.split()[1] for row in rows} == {"finished", "waiting_for_confirmation"}
    assert {row.split()[0] for row in rows} == {make_id(1)[:8], make_id(2)[:8]}
    assert max(len(row) for row in rows) == COLUMNS
    assert [row[-1] for row in rows if "long" in row] == ["…"]


def test_columns_that_have_no_room_run_over_the_edge_and_are_whole(titled: Path) -> None:
    rows = show_in_terminal("prune", "--older-than", "1m", "--before", "2099-01-01", "--dry-run", "--store", titled)
    for number, status in ((1, "finished"), (2, "waiting_for_confirmation")):
        [row] = [row for row in rows if row.startswith(dashed(ConversationId(make_id(number))))]
        assert row.split()[1:3] == [status, "2026-10-01"]


def test_a_pipe_gets_every_column_whole_and_no_blanks_at_the_end(titled: Path, convstore: Command) -> None:
    ran = convstore("list", "--store", titled)
    heading, *rows, _ = ran.out.splitlines()
    titles = {row[heading.index("TITLE") :] for row in rows}
    assert titles == {"short", ("long " * 40).strip()}
    assert [line for line in ran.out.splitlines() if line != line.rstrip()] == []
    assert len({row.index(" 2026-10-01") for row in rows}) == 1


@pytest.mark.long
@pytest.mark.parametrize("name", PRINTING)
def test_a_terminal_is_not_steered_and_json_says_the_same(root: Path, name: str) -> None:
    content = [{"type": "text", "text": HOSTILE}]
    path = make_conversation(root, meta={"title": HOSTILE}, events=[make_event(0, llm_message={"content": content})])
    meta = json.loads((path / "meta.json").read_bytes())
    (path / "meta.json").write_text(json.dumps(meta, ensure_ascii=False))  # as agent-server writes it, not escaped
    command = [str(COMMAND), *PRINTING[name], "--store", str(root)]
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    outside, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL) as running:
        os.close(terminal)
        said = read_terminal(outside)
        assert running.wait(60) == 0
    assert "\u202e" in piped
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)
    if name in ("list", "tail"):
        assert json.loads(said) == json.loads(piped)


def test_a_title_cannot_steer_the_terminal(root: Path, convstore: Command) -> None:
    make_conversation(root, 1, meta={"title": "red \x1b[31m alert\r\nsecond \u202e line"})
    for ran in (convstore("list", "--store", root), convstore("show", make_id(1), "--store", root)):
        assert "red �[31m alert" in ran.out
        assert not {"\x1b", "\r", "\u202e"} & set(ran.out)


def test_show_cuts_long_texts_unless_told_not_to(root: Path, convstore: Command) -> None:
    path = make_conversation(root, 1, events=0)
    text = "\n".join(f"line {i}" for i in range(30))
    write_event(path, 0, make_event(0, llm_message={"role": "user", "content": [{"type": "text", "text": text}]}))
    cut, whole = (convstore("show", make_id(1), "--store", root, *more).out for more in ((), ("--full",)))
    assert "line 29" not in cut
    assert "… 18 more lines (--full shows them)" in cut
    assert "line 29" in whole
