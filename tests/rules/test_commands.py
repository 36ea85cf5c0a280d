"""Every command: help with an example, --json, a dry run where it changes conversations, and errors of one line.

A new command is tested here without being named: arguments that it needs are made up from their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from app.cli.main import app
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command, convstore

__all__ = ["convstore"]

CHANGES = {
    "rename",
    "tag",
    "fork",
    "delete",
    "erase",
    "restore",
    "import",
    "prune",
    "archive",
    "unarchive",
    "pin",
    "unpin",
    "trash restore",
    "trash empty",
    "repair",
    "index sync",
}
NO_JSON = {"serve", "mcp"}
KNOWN_WITHOUT_INDEX = {
    "db current",
    "db history",
    "db check",
    "db downgrade",
    "doctor",
    "trash empty",
    "service install",
}
"""They make no index, and find none."""


def walk(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str = "") -> Iterator[tuple[str, object]]:
    for inner, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{name} {inner}".strip())
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(walk(typer.main.get_command(app)))  # type: ignore[arg-type]
OF_A_STORE = [name for name in COMMANDS if name not in {"service status", "service remove"}]
"""The others are about systemd."""

VALUES = {"ID": make_id(1), "TITLE": "A name", "KEY=VALUE": "area=store", "PATH": "/nowhere", "REVISION": "base"}


def arguments(name: str, conversation: str = VALUES["ID"]) -> list[str]:
    """Return what a command needs behind its name."""
    found = {"export": ["--all"], "prune": ["--older-than", "1h"], "erase": [conversation]}.get(name, [])
    for parameter in COMMANDS[name].params:  # type: ignore[attr-defined]
        if parameter.param_type_name == "argument" and parameter.required:
            kind = (parameter.metavar or parameter.name).upper().removesuffix("...")
            found.append(conversation if kind == "ID" else VALUES.get(kind, "word"))
    return found


def takes(name: str, option: str) -> bool:
    return any(option in parameter.opts for parameter in COMMANDS[name].params)  # type: ignore[attr-defined]


def test_there_are_commands() -> None:
    assert {"serve", "show", "index sync", "db check", "trash empty"} <= COMMANDS.keys()
    assert COMMANDS.keys() >= CHANGES | NO_JSON | KNOWN_WITHOUT_INDEX


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(name: str, convstore: Command) -> None:
    ran = convstore(*name.split(), "--help")
    assert (ran.code, f"Example: convstore {name}" in ran.out, "Exit codes: 0 success" in ran.out) == (0, True, True)


@pytest.mark.parametrize("name", OF_A_STORE)
def test_every_command_names_its_store_and_speaks_json(name: str) -> None:
    assert (takes(name, "--store"), takes(name, "--index")) == (True, True)
    assert takes(name, "--json") != (name in NO_JSON)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_changes_conversations_can_be_tried_dry(name: str) -> None:
    assert takes(name, "--dry-run")


def is_one_line(said: str) -> bool:
    return said.startswith("convstore: ") and said.count("\n") == 1 and said.endswith("\n")


@pytest.mark.parametrize("where", ["nowhere", "a-file"])
@pytest.mark.parametrize("name", OF_A_STORE)
def test_a_store_that_is_none_is_told_in_a_line(name: str, where: str, tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "a-file").touch()
    ran = convstore(*name.split(), *arguments(name), "--store", tmp_path / where)
    assert (ran.code, ran.out, is_one_line(ran.err)) == (2, "", True), ran.err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", [name for name in OF_A_STORE if name not in KNOWN_WITHOUT_INDEX | {"mcp"}])
def test_an_index_that_cannot_be_made_is_told_in_a_line(name: str, root: Path, convstore: Command) -> None:
    """`convstore mcp` opens the store after the handshake, and tells it at each call (tests/cli/test_mcp.py)."""
    make_conversation(root)
    ran = convstore(*name.split(), *arguments(name), "--store", root, "--index", "sqlite:////dev/null/index.db")
    assert (ran.code, is_one_line(ran.err)) == (2, True), ran.err


@pytest.mark.parametrize("conversation", ["../../étc", make_id(77)])
@pytest.mark.parametrize("name", [name for name in COMMANDS if VALUES["ID"] in arguments(name)])
def test_an_id_that_is_none_is_told_in_a_line(name: str, conversation: str, root: Path, convstore: Command) -> None:
    make_conversation(root)
    ran = convstore(*name.split(), *arguments(name, conversation), "--store", root)
    assert (ran.code, ran.out, is_one_line(ran.err)) == (2, "", True), ran.err


@pytest.mark.parametrize("name", OF_A_STORE)
def test_a_store_must_be_named(name: str, convstore: Command) -> None:
    ran = convstore(*name.split(), *arguments(name))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "convstore: no store was given; use --store DIR or set CONVSTORE_STORE\n"


@pytest.mark.parametrize("name", [name for name in OF_A_STORE if name not in NO_JSON | {"open"}])
def test_json_is_json(name: str, root: Path, tmp_path: Path, convstore: Command) -> None:
    given: dict[str, list[object]] = {
        "import": [tmp_path / "one.zip"],
        "export": ["--all", "-o", tmp_path / "two.zip"],
        "prune": ["--older-than", "1h", "--yes"],
        "service install": ["--dry-run"],
        "erase": [make_id(1), "--yes"],
    }
    made = make_conversation(root)
    convstore("export", make_id(1), "--store", root, "-o", tmp_path / "one.zip")
    if "restore" in name:
        convstore("delete", made.name, "--store", root)
    ran = convstore(*name.split(), *given.get(name, [*arguments(name)]), "--store", root, "--json")
    assert (ran.code in (0, 1), ran.err) == (True, "")
    assert [json.loads(line) for line in ran.out.splitlines()] if name == "tail" else ran.json is not None
