"""Tables: no column is cut but the last, and that one in a terminal alone."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command

COLUMNS = 80


def show_in_terminal(*command: object) -> list[str]:
    """Return the lines that a command prints in a terminal of 80 columns, without colours."""
    outside, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, COLUMNS))
    arguments = [sys.executable, "-m", "app.cli.main", *(str(one) for one in command)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as shown:
        os.close(terminal)
        said = b""
        while piece := _read(outside):
            said += piece
    os.close(outside)
    assert shown.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode()).splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # as Linux says that nobody writes there any more
        return b""


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
