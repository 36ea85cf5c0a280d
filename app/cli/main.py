"""The `convstore` command: its subcommands, and the printing of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import StoreError
from ..trail import Act
from .registration import PYDANTIC_PREFIX, LazyCommands, Place, make_group

_FAILED = 2
_NOBODY_READS = 141


_COMMANDS = {
    "serve": Place("serve", "Serve a conversations directory over HTTP, compatible with agent-server's clients."),
    "open": Place("open", "Open the page of a running server in a browser that is signed in."),
    "mcp": Place("mcp", "Let an agent search and read the conversations: an MCP server on standard input and output."),
    "list": Place("conversations", "List conversations, most recently updated first."),
    "count": Place("conversations", "Count conversations that match filters, in total or by a field."),
    "search": Place("search", "Search titles, messages, thoughts, final answers and errors of all conversations."),
    "edits": Place("edits", "Show which conversations changed a file, the latest change first."),
    "show": Place("conversations", "Show one conversation: messages, tools, results, status, cost."),
    "tail": Place("tail", "Show the last events of a conversation and, with --follow, new ones."),
    "rename": Place("edit", "Set the title of a conversation.", Act.WRITE),
    "tag": Place("edit", "Set and remove tags of a conversation.", Act.WRITE),
    "fork": Place(
        "edit", "Copy a conversation completely, or up to an event, and print the id of the copy.", Act.WRITE
    ),
    "delete": Place("trash", "Move conversations into the trash; `convstore restore` undoes this.", Act.WRITE),
    "restore": Place("trash", "Restore deleted conversations.", Act.WRITE),
    "archive": Place(
        "edit", "Hide conversations from lists, counts and searches unless these ask for archived ones.", Act.WRITE
    ),
    "unarchive": Place("edit", "Take conversations out of the archive.", Act.WRITE),
    "pin": Place("edit", "Pin conversations, so that `convstore prune` keeps them.", Act.WRITE),
    "unpin": Place("edit", "Unpin conversations.", Act.WRITE),
    "prune": Place("prune", "Move old conversations into the trash, including archived ones.", Act.WRITE),
    "erase": Place(
        "erase",
        "Remove conversations for good from files, trash and index, and search the raw bytes for what is left.",
        Act.WRITE,
    ),
    "export": Place(
        "archives",
        "Write conversations as a zip in agent-server's layout, as JSON Lines, as Markdown or as HTML.",
        Act.EXPORT,
    ),
    "import": Place("archives", "Import conversations that convstore or agent-server exported.", Act.WRITE),
    "du": Place("du", "Show the disk space and inodes of conversations."),
    "usage": Place("usage", "Show cost and tokens over time, by the time of each model call, as agents recorded them."),
    "doctor": Place("doctor", "Check a store for problems, and show what to do."),
    "repair": Place(
        "repair", "Make all safe repairs of a conversation's files, after copying it into the trash.", Act.WRITE
    ),
    "trash": Place("trash", "List, restore or permanently remove deleted conversations."),
    "index": Place("index", "Show the state of the index, sync it, compare it with the files, or rebuild it."),
    "db": Place("db", "Show and migrate the schema of the index, and copy the index."),
    "service": Place("service", "Run the server of a store under systemd: write, show or remove its unit."),
}
"""The commands in the order of the help, where each is, and the first sentence of its help."""


class _Group(TyperGroup):
    """The commands.

    If the reader of the output ends, as `head` does, they end quietly, like programs that get SIGPIPE.
    """

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - as for `invoke`
        super().__init__(**given)
        self.commands = cast(Any, LazyCommands(_COMMANDS))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as for `invoke`
        """Write the list of the commands from the table, so that the help imports none of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in _COMMANDS.items()])

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as for `invoke`
        """Parse the command line, and print the help or version on request."""
        with _end_quietly():
            name, given, *more = args
            given = ["--version", *given[1:]] if given[:1] == ["version"] else given
            return super().make_context(name, given, *more, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - by its version, typer has click inside or beside it
        """Run the command."""
        with _end_quietly():
            return super().invoke(ctx)


@contextmanager
def _end_quietly() -> Iterator[None]:
    """Exit with 141 if the reader of the output has ended.

    Typer would exit with 1, which means "problems found".
    """
    try:
        yield
    except typer.BadParameter as error:
        error.message = error.message.removeprefix(PYDANTIC_PREFIX)
        raise
    except (BrokenPipeError, SystemExit) as error:
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        raise typer.Exit(_NOBODY_READS) from error


app = make_group(
    "A store for the conversations of AI-agent servers: files hold the data, an index lists and searches them.",
    cls=_Group,
    add_completion=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convstore {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version; `version` does the same."
        ),
    ] = False,
) -> None:
    """Declare the options that come before a command."""


def run() -> None:
    """Run the command. An expected error becomes one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except StoreError as error:
        _fail(str(error))
    except UnicodeEncodeError as error:
        _fail(f"{error.object[:64]!r} is not UTF-8; only paths may be in another encoding")
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        _fail(
            f"{error.filename}: {error.strerror}; check the owner and mode of the file and of the directories above it"
        )
    except OSError as error:
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}")


def _fail(told: str) -> NoReturn:
    from ..logs import printable  # noqa: PLC0415 - only an error needs it
    from .output import err  # noqa: PLC0415

    err.print(f"convstore: {printable(told)}", style="red")
    sys.exit(_FAILED)


if __name__ == "__main__":
    run()
