"""Running the command: as its entry point does, but in this process; in a terminal; beside another process."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from app.cli.main import run
from tests.builders import make_conversation, second_process

COMMAND = Path(sys.executable).with_name("convstore")
"""The installed command."""

OWNER = """
import asyncio, sys
from pathlib import Path
from app import ConversationStore, Settings
async def main():
    async with ConversationStore.open(Settings(store=Path(sys.argv[1]))) as store:
        async with store.writer(sys.argv[2]) as conversation:
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""

_get_command = functools.cache(typer.main.get_command)
"""The commands are put together once, not again for each that a test runs."""


class Ran(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def convstore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `convstore` with these arguments."""
    monkeypatch.setattr("typer.main.get_command", _get_command)

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["convstore", *(str(argument) for argument in arguments)])
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def three(root: Path) -> Path:
    """A store with three conversations, of which the third is idle and the others are finished."""
    for number in (1, 2, 3):
        make_conversation(root, number, state={"execution_status": "idle" if number == 3 else "finished"})
    return root


@contextmanager
def owned_by_another_process(root: Path, conversation_id: str) -> Iterator[None]:
    """Have another process own a conversation."""
    with second_process(OWNER, root, conversation_id) as other:
        assert other.hear() == "open"
        yield


def read_question(terminal: int) -> None:
    """Read what a terminal shows until it asks for yes or no."""
    said = b""
    while b"[y/N]: " not in said:
        said += os.read(terminal, 4096)


def read_terminal(terminal: int) -> str:
    """Return what a terminal shows until its program ends, and close it."""
    said = b""
    try:
        while data := os.read(terminal, 65_536):
            said += data
    except OSError:  # Linux raises it where other systems return nothing
        pass
    finally:
        os.close(terminal)
    return said.decode()
