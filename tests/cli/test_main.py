"""The command as a whole: its version, shell completion, and what becomes of its output."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.builders import make_conversation
from tests.cli.conftest import COMMAND, Command


def test_the_version_is_printed(convstore: Command) -> None:
    told = convstore("--version")
    assert re.fullmatch(r"convstore \d+\.\d+\.\d+\n", told.out)
    assert convstore("version") == told


@pytest.mark.parametrize("command", ["", "list", "trash", "trash list", "serve"])
def test_h_is_help(convstore: Command, command: str) -> None:
    asked = convstore(*command.split(), "-h")
    assert (asked.code, asked) == (0, convstore(*command.split(), "--help"))


@pytest.mark.long
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "found"),
    [("convstore exp", "export"), ("convstore db down", "downgrade"), ("convstore list --status fin", "finished")],
)
def test_the_shell_completes_commands_and_values(shell: str, words: str, found: str) -> None:
    asked = {
        "_CONVSTORE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    ran = subprocess.run([COMMAND], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert (found in ran.stdout, "serve" in ran.stdout, "running" in ran.stdout) == (True, False, False)


def test_completion_is_set_up_in_a_shell(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{COMMAND} --install-completion; exit $?"],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, "convstore" in (tmp_path / ".bashrc").read_text()) == (0, True)


@pytest.mark.long
@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("export", "--all", "-o", "-")], ids=" ".join)
def test_output_that_cannot_be_written_is_told_in_a_line(root: Path, command: tuple[str, ...]) -> None:
    make_conversation(root)
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [COMMAND, *command, "--store", root], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ran.returncode, ran.stderr) == (2, "convstore: the output: No space left on device\n")


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [("list",), ("list", "--json"), ("search", "message"), ("export", "--all", "-o", "-"), ("doctor",)],
    ids=" ".join,
)
def test_a_reader_that_ends_ends_the_command_quietly_and_is_nothing_found(root: Path, command: tuple[str, ...]) -> None:
    make_conversation(root)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ran = subprocess.run(
            [COMMAND, *command, "--store", root], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.long
@pytest.mark.parametrize("command", [("--help",), ("--version",), ("list", "--help"), ("db", "--help")], ids=" ".join)
def test_a_reader_of_a_help_may_end_too(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ran = subprocess.run([COMMAND, *command], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_what_the_terminal_cannot_show_is_escaped(root: Path) -> None:
    make_conversation(root, meta={"title": "caf\u00e9"})
    ran = subprocess.run(
        [COMMAND, "list", "--store", root],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr, "caf\\xe9" in ran.stdout) == (0, "", True)


def test_a_value_that_there_is_not_is_told_with_those_that_there_are(root: Path, convstore: Command) -> None:
    ran = convstore("list", "--status", "eror", "--store", root)
    assert (ran.code, "Invalid value for '--status': 'eror' is not one of" in ran.err) == (2, True)


@pytest.mark.parametrize("command", ["export", "import", "search", "delete", "serve"])
def test_usage_has_no_dots_twice(convstore: Command, command: str) -> None:
    [usage] = [line for line in convstore(command, "--help").out.splitlines() if "Usage:" in line]
    assert "...]" not in usage.replace("]...", "")
    assert "...}" not in usage
