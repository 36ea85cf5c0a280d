"""The table of commands, from which the help is made without them, and options that several commands share."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import typer

from app.cli.context import CommandContext, ContextOptions
from app.cli.main import _COMMANDS, app
from app.cli.registration import add_command
from tests.cli.conftest import Command


def test_a_group_of_options_stands_in_place_of_its_parameter() -> None:
    made: list[tuple[CommandContext, bool]] = []

    def command(context: ContextOptions, *, own: bool = False) -> None:
        made.append((context, own))

    app = typer.Typer()
    add_command(app, "one", "A summary.")(command)
    built = typer.main.get_command(app)
    built(["--json", "--own", "--store", "x"], standalone_mode=False)
    names = [parameter.name for parameter in built.params if "completion" not in str(parameter.name)]
    assert names == ["store", "own", "index", "json"]
    assert made == [(CommandContext(Path("x"), None, json=True), True)]


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_table_tells_the_first_sentence_of_the_commands_help(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    told = " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split())
    summary = _COMMANDS[name].summary
    assert told.startswith(summary)
    assert (command.name, summary[-1], ". " in summary) == (name, ".", False)


def test_the_help_lists_every_command_in_its_order(convstore: Command) -> None:
    lines = convstore("--help").out.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert names[: len(_COMMANDS)] == list(_COMMANDS)


def test_a_name_that_is_no_command_is_told_with_one_that_is_alike(convstore: Command) -> None:
    ran = convstore("lits")
    assert (ran.code, "No such command 'lits'" in ran.err, "list" in ran.err) == (2, True, True)


def test_restore_is_a_command_of_its_own_and_of_the_trash(convstore: Command) -> None:
    own, of_trash = (convstore(*words, "--help").out for words in (("restore",), ("trash", "restore")))
    assert ("Example: convstore restore" in own, "Example: convstore trash restore" in of_trash) == (True, True)
