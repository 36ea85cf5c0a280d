"""The README knows every command and every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from app.cli.main import app
from app.settings import Settings

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
