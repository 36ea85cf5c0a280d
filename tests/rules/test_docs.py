"""The README knows every command and every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from app.cli.main import app
from app.index.sqlite.schema_version import HEAD
from app.settings import Settings
from tests.rules.test_commands import COMMANDS

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands() -> list[str]:
    names = [str(command.name) for command in app.registered_commands]
    for group in app.registered_groups:
        assert isinstance(group.typer_instance, typer.Typer)
        for command in group.typer_instance.registered_commands:
            name = command.name or getattr(command.callback, "__name__", "")
            names.append(f"{group.name} {name}")
    return names


def test_there_are_commands() -> None:
    assert {"serve", "show", "index sync", "db check"} <= set(commands())


@pytest.mark.parametrize("command", commands())
def test_the_readme_shows_the_command(command: str) -> None:
    assert f"`convstore {command}" in README or f"`{command}" in README


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_the_readme_names_the_setting(setting: str) -> None:
    assert f"| `CONVSTORE_{setting.upper()}` |" in README


def test_the_readme_names_no_setting_that_there_is_not() -> None:
    named = {name.lower() for name in re.findall(r"CONVSTORE_([A-Z_]+)", README)}
    assert named <= {*Settings.model_fields}


def test_the_example_of_a_current_index_names_the_newest_schema() -> None:
    assert f"\n    {HEAD} (this program needs {HEAD})\n" in README


def test_the_readme_names_every_option() -> None:
    parameters = [one for command in COMMANDS.values() for one in command.params]  # type: ignore[attr-defined]
    options = {option for one in parameters for option in (*one.opts, *one.secondary_opts) if option.startswith("--")}
    assert options <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
