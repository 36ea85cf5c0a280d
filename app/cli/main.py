"""The `convstore` command: its subcommands, and the printing of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

from .. import __version__
from ..errors import StoreError
from ..logs import printable
from . import (
    archives,
    conversations,
    db,
    doctor,
    du,
    edit,
    edits,
    erase,
    index,
    mcp,
    prune,
    repair,
    search,
    serve,
    service,
    tail,
    trash,
    usage,
)
from . import open as page
from .context import EXIT_CODES, PYDANTIC_PREFIX, add_command
from .output import err

_FAILED = 2
_NOBODY_READS = 141


class _Group(TyperGroup):
    """The commands.

    If the reader of the output ends, as `head` does, they end quietly, like programs that get SIGPIPE.
    """

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

    Typer and rich would exit with 1, which means "problems found".
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


app = typer.Typer(
    cls=_Group,
    help="A store for the conversations of AI-agent servers: files hold the data, an index lists and searches them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
add_command(app, "serve")(serve.serve_command)
add_command(app, "open")(page.open_command)
add_command(app, "mcp")(mcp.mcp_command)
add_command(app, "list")(conversations.list_command)
add_command(app, "count")(conversations.count_command)
add_command(app, "search")(search.search_command)
add_command(app, "edits")(edits.edits_command)
add_command(app, "show")(conversations.show_command)
add_command(app, "tail")(tail.tail_command)
add_command(app, "rename")(edit.rename_command)
add_command(app, "tag")(edit.tag_command)
add_command(app, "fork")(edit.fork_command)
add_command(app, "delete")(trash.delete_command)
add_command(app, "restore", str(trash.restore_command.__doc__).replace("trash restore", "restore"))(
    trash.restore_command
)
add_command(app, "archive")(edit.archive_command)
add_command(app, "unarchive")(edit.unarchive_command)
add_command(app, "pin")(edit.pin_command)
add_command(app, "unpin")(edit.unpin_command)
add_command(app, "prune")(prune.prune_command)
add_command(app, "erase")(erase.erase_command)
add_command(app, "export")(archives.export_command)
add_command(app, "import")(archives.import_command)
add_command(app, "du")(du.du_command)
add_command(app, "usage")(usage.usage_command)
add_command(app, "doctor")(doctor.doctor_command)
add_command(app, "repair")(repair.repair_command)
app.add_typer(trash.app, name="trash", no_args_is_help=True)
app.add_typer(index.app, name="index", no_args_is_help=True)
app.add_typer(db.app, name="db", no_args_is_help=True)
app.add_typer(service.app, name="service", no_args_is_help=True)


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
    err.print(Text(f"convstore: {printable(told)}", style="red"))
    sys.exit(_FAILED)


if __name__ == "__main__":
    run()
