"""The manual page convstore(1), made from the help of the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from app import __version__
from app.cli.main import app
from app.cli.registration import EXIT_CODES

_HEAD = """.TH CONVSTORE 1 "" "convstore {version}" "User Commands"
.SH NAME
convstore \\- store, list and search the conversations of AI-agent servers
.SH SYNOPSIS
.B convstore
.I COMMAND
.RI [ OPTION ...]
.SH DESCRIPTION
{summary}
"""
_TAIL = """.SH EXIT STATUS
{codes}
.SH ENVIRONMENT
Each setting is a variable that begins with CONVSTORE_, such as CONVSTORE_STORE for the directory of the conversations.
"""


def make_page() -> str:
    """Return the page as roff."""
    root: Any = get_command(app)
    head = _HEAD.format(version=__version__, summary=_escape(root.help))
    tail = _TAIL.format(codes=_escape(EXIT_CODES.removeprefix("Exit codes: ")))
    return head + ".SH COMMANDS\n" + "".join(_commands(root, "")) + tail


def _commands(group: Any, before: str) -> Iterator[str]:  # noqa: ANN401 - by its version, typer has click inside or beside it
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        elif not command.hidden:
            yield f".SS convstore {before}{name}{''.join(_arguments(command))}\n"
            summary, _, example = inspect.cleandoc(command.help).partition("Example: ")
            yield f"{_escape(summary)}\n" + (f".PP\nExample:\n.B {_escape(example)}\n" if example else "")
            yield from _options(command)


def _arguments(command: Any) -> Iterator[str]:  # noqa: ANN401
    for one in command.params:
        if one.param_type_name == "argument":
            name = one.metavar or one.name.upper()
            yield f" {name}" if one.required else f" [{name}]"


def _options(command: Any) -> Iterator[str]:  # noqa: ANN401
    for one in command.params:
        if one.param_type_name == "option":
            names = ", ".join(sorted((*one.opts, *one.secondary_opts), key=len))
            yield f".TP\n.B {_escape(names)}\n{_escape(one.help or '')}\n"


def _escape(text: str) -> str:
    """Return a text of one paragraph that roff prints as it is."""
    escaped = " ".join(text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").split())
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    print(make_page(), end="")
