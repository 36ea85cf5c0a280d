"""Completion in a shell: the scripts, and what they offer."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.conftest import COMMAND


def run(**environment: str) -> str:
    ran = subprocess.run([COMMAND], env=os.environ | environment, capture_output=True, text=True, check=True)
    return ran.stdout


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _convstore_completion convstore"),
        ("zsh", "#compdef convstore"),
        ("fish", "complete --command convstore"),
    ],
)
def test_the_script_of_a_shell_is_printed(shell: str, line: str) -> None:
    assert line in run(_CONVSTORE_COMPLETE=f"source_{shell}")


def test_a_command_is_completed() -> None:
    offered = run(_CONVSTORE_COMPLETE="complete_bash", COMP_WORDS="convstore trash res", COMP_CWORD="2")
    assert offered.split() == ["restore"]
