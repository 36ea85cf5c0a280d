"""The `convstore` command."""

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

from app import __version__
from app.cli import (
    archives,
    conversations,
    db,
    doctor,
    index,
    marking,
    pruning,
    repair,
    search,
    serve,
    tail,
    trash,
    usage,
    writing,
)
from app.cli.output import PREFIX, err, printable
from app.errors import StoreError

_FAILED = 2
_NOBODY_READS = 141
_EXIT_CODES = (
    "Exit codes: 0 done, 1 something was found (verify, check, doctor, repair), 2 wrong use, failure or a no, "
    "130 interrupted, 141 nobody read on."
)


class _Group(TyperGroup):
    """The commands; one whose output is cut off, as by `head`, ends quietly, as SIGPIPE ends other programs."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as for `invoke`
        """Read the command line, and print the help or the version if it asks for that."""
        with _ending_quietly():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - by its version, typer has click inside or beside it
        """Run the command that was named."""
        with _ending_quietly():
            return super().invoke(ctx)


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """End with 141 when nobody reads on; typer, and rich for a help, would end with 1, as if something was found."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = error.message.removeprefix(PREFIX)
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
    help="A store for the conversations of AI-agent servers: files are the truth, an index lists them.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(name="serve")(serve.serve_command)
app.command(name="list")(conversations.list_command)
app.command(name="count")(conversations.count_command)
app.command(name="search")(search.search_command)
app.command(name="show")(conversations.show_command)
app.command(name="tail")(tail.tail_command)
app.command(name="rename")(writing.rename_command)
app.command(name="tag")(writing.tag_command)
app.command(name="fork")(writing.fork_command)
app.command(name="delete")(writing.delete_command)
app.command(name="restore", help=str(trash.restore_command.__doc__).replace("trash restore", "restore"))(
    trash.restore_command
)
app.command(name="archive")(marking.archive_command)
app.command(name="unarchive")(marking.unarchive_command)
app.command(name="pin")(marking.pin_command)
app.command(name="unpin")(marking.unpin_command)
app.command(name="prune")(pruning.prune_command)
app.command(name="export")(archives.export_command)
app.command(name="import")(archives.import_command)
app.command(name="du")(usage.du_command)
app.command(name="doctor")(doctor.doctor_command)
app.command(name="repair")(repair.repair_command)
app.add_typer(trash.app, name="trash", no_args_is_help=True)
app.add_typer(index.app, name="index", no_args_is_help=True)
app.add_typer(db.app, name="db", no_args_is_help=True)
for _group in (app, trash.app, index.app, db.app):
    for _command in _group.registered_commands:
        _command.epilog = _EXIT_CODES


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convstore {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def run() -> None:
    """Run the command; an expected error is one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except StoreError as error:
        _fail(str(error))
    except UnicodeEncodeError as error:
        _fail(f"{error.object[:64]!r} is not UTF-8, as all but paths have to be")
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        _fail(f"{error.filename}: {error.strerror}; check its owner and mode, and those of the directories above it")
    except OSError as error:
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}")


def _fail(told: str) -> NoReturn:
    err.print(Text(f"convstore: {printable(told)}", style="red"))
    sys.exit(_FAILED)


if __name__ == "__main__":
    run()
