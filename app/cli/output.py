"""What all commands share: opening the store, progress, JSON or tables, text that is safe in a terminal."""

from __future__ import annotations

import asyncio
import difflib
import errno
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self, TypeVar

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.errors import InvalidSettings
from app.logs import printable
from app.settings import Settings
from app.store.follow.full_sync import SyncReport
from app.store.store import ConversationStore

__all__ = ["printable"]
T = TypeVar("T")
PREFIX = "Value error, "
"""What pydantic puts before what a check says."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the command's end what it means; rich would exit with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


out = _Console(highlight=False, soft_wrap=True)
err = _Console(stderr=True, highlight=False, soft_wrap=True)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="CONVSTORE_STORE", help="The directory that holds the conversations.", show_default=False
    ),
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        envvar="CONVSTORE_INDEX_URL",
        help="Where the index is, e.g. sqlite:////var/lib/convstore/index.db.",
        show_default="DIR/.convstore/index.db",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoSyncOption = Annotated[
    bool, typer.Option("--no-sync", help="Answer from the index as it is, without comparing it with the files first.")
]

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON may hold as it is, and a terminal obeys."""

_BAR_AFTER_S = 1.0
_GAP = "  "
_LAST_MIN = 10
_NEARLY = 0.7  # as difflib counts how alike two names are: PROT and PORT 0.75
_PROCESSES_MAX = 4


def make_settings(**given: object) -> Settings:
    """Return the settings: what was given, then CONVSTORE_*, then the defaults.

    Raises:
        InvalidSettings: a value cannot work, or no store was named.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [
            "no store was named; use --store DIR or set CONVSTORE_STORE"
            if problem["loc"] == ("store",) and problem["type"] == "missing"
            else f"{_named(str(problem['loc'][0]), given)}: {problem['msg'].removeprefix(PREFIX)}"
            for problem in error.errors()
        ]
        raise InvalidSettings("; ".join(problems)) from error
    _tell_misspelt()
    if settings.sync_processes is None:
        settings.sync_processes = min(os.cpu_count() or 1, _PROCESSES_MAX)
    return settings


def _named(setting: str, given: Mapping[str, object]) -> str:
    """Return the option or the variable that gave a setting its value."""
    return f"CONVSTORE_{setting.upper()}" if given.get(setting) is None else f"--{setting.replace('_', '-')}"


def _tell_misspelt() -> None:
    """Say which variables are nearly settings: they change nothing, which nobody notices otherwise."""
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(os.environ):
        name = variable.removeprefix("CONVSTORE_")
        if name == variable or name in known:
            continue
        for meant in difflib.get_close_matches(name, known, 1, _NEARLY):
            told = f"convstore: {variable} is no setting and changes nothing; did you mean CONVSTORE_{meant}?"
            err.print(Text(printable(told), style="yellow"))


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work."""
    return asyncio.run(work)


@asynccontextmanager
async def opened(settings: Settings, *, no_sync: bool) -> AsyncIterator[ConversationStore]:
    """Open the store, bringing its index in step first."""
    async with ConversationStore.open(settings) as store:
        if not no_sync:
            report = await synced(store)
            if not report.conversations:
                told = f"convstore: no conversation directories in {settings.root}"
                err.print(Text(printable(told), style="yellow"))
        yield store


async def synced(store: ConversationStore, *, allow_empty: bool = False) -> SyncReport:
    """Bring the index in step, with a progress bar when that takes longer than a second."""
    with LateBar() as bar:
        return await store.sync(on_progress=bar.show, allow_empty=allow_empty)


class LateBar(AbstractContextManager["LateBar"]):
    """A progress bar on standard error that appears after a second, and only in a terminal."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._started = False

    def show(self, phase: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done in a phase."""
        if not self._started:
            if time.monotonic() - self._begun < _BAR_AFTER_S:
                return
            self._bar.start()
            self._started = True
        if phase not in self._tasks:
            self._tasks[phase] = self._bar.add_task(phase)
        self._bar.update(self._tasks[phase], completed=done, total=total)

    def __enter__(self) -> Self:
        """Begin to wait for the second to pass."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._started:
            self._bar.stop()


def counted(number: int, noun: str) -> str:
    """Return so many of something, as people write it: 1 hit, 1,200 hits."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_warning(warning: str | None) -> None:
    """Say on standard error what a write that was done left to be done by itself."""
    if warning is not None:
        err.print(Text(printable(f"convstore: {warning}"), style="yellow"))


def print_json(value: object) -> None:
    """Print a value as indented JSON; a path that is not UTF-8 reads back as the same path."""
    try:
        raw = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError:
        raw = json.dumps(value, indent=2).encode()
    typer.echo(shown_json(raw))


def shown_json(raw: bytes) -> str:
    """Return JSON as it is printed: in a terminal, characters that steer it are escaped."""
    text = raw.decode(errors="replace")
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if sys.stdout.isatty() else text


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> None:
    """Print a table without a frame; headings that begin with ">" are right-aligned.

    No column is cut but the last, to what a terminal has room for; where nobody looks it is whole, too.
    """
    names = list(headings)
    lines = [[Text(name.lstrip(">"), style="bold") for name in names]] if any(names) else []
    lines += [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]
    widths = [max((line[place].cell_len for line in lines), default=0) for place in range(len(names) - 1)]
    room = max(out.width - sum(widths) - len(_GAP) * len(widths), _LAST_MIN)
    for *cells, last in lines:
        for name, cell, width in zip(names, cells, widths, strict=False):
            missing = width - cell.cell_len
            (cell.pad_left if name.startswith(">") else cell.pad_right)(missing)
        if out.is_terminal:
            last.truncate(room, overflow="ellipsis")
        line = Text(_GAP).join([*cells, last])
        line.rstrip()
        out.print(line)
