"""Running the command as its entry point does, in this process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import typer.main

from app.cli.main import run

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
