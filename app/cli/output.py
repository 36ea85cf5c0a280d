"""The output of commands: tables, JSON, events, warnings and a progress bar. All text is safe in a terminal."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn, Self

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..logs import printable
from ..model import transcript


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Raise, so that the command exits with 141. rich would exit with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


out = _Console(highlight=False, soft_wrap=True)
err = _Console(stderr=True, highlight=False, soft_wrap=True)

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters that JSON does not escape."""

_BAR_AFTER_S = 1.0
_GAP = "  "
_LAST_MIN = 10
_EVENT_STYLES = {"user": "bold cyan", "agent": "bold green", "environment": "bold yellow", "error": "bold red"}
_EVENT_LINES = 12
"""The number of lines of an event that are shown without --full."""


class LateBar(AbstractContextManager["LateBar"]):
    """A progress bar on standard error. It appears after a second, and only in a terminal."""

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
        """Show that `done` of `total` items of a phase are done."""
        if not self._started:
            if time.monotonic() - self._begun < _BAR_AFTER_S:
                return
            self._bar.start()
            self._started = True
        if phase not in self._tasks:
            self._tasks[phase] = self._bar.add_task(phase)
        self._bar.update(self._tasks[phase], completed=done, total=total)

    def __enter__(self) -> Self:
        """Return the bar. Its second starts when the bar is created."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._started:
            self._bar.stop()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 hit, 1,200 hits."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def warn(line: str) -> None:
    """Print a yellow line on standard error."""
    err.print(Text(printable(line), style="yellow"))


def print_warning(warning: str | None) -> None:
    """Print the warning of a change that is saved on disk but not yet in the index."""
    if warning is not None:
        warn(f"convstore: {warning}")


def print_json(value: object) -> None:
    """Print a value as indented JSON. A path that is not UTF-8 can be read back as the same path."""
    typer.echo(shown_json(_indented(value)))


def _indented(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError:
        return json.dumps(value, indent=2).encode()


async def print_json_members(
    before: dict[str, object], name: str, items: AsyncIterable[object], after: Callable[[], dict[str, object]]
) -> None:
    """Print what `print_json` prints of `{**before, name: [*items], **after()}`, each item as soon as it is there."""
    typer.echo(shown_json(_indented(before)[:-2] + b',\n  "%b": [' % name.encode()), nl=False)
    between = "\n"
    async for item in items:
        typer.echo(between + shown_json(b"    " + _indented(item).replace(b"\n", b"\n    ")), nl=False)
        between = ",\n"
    typer.echo(("]" if between == "\n" else "\n  ]") + shown_json(b"," + _indented(after())[1:]))


def shown_json(raw: bytes) -> str:
    """Return JSON for standard output. In a terminal, control characters are escaped."""
    text = raw.decode(errors="replace")
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if sys.stdout.isatty() else text


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> None:
    """Print a table without a frame. Columns whose heading begins with ">" are right-aligned.

    In a terminal, the last column is cut to the remaining width. Elsewhere, all columns are complete.
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


def print_event(event: dict[str, Any], *, full: bool) -> None:
    """Print an event's speaker, action and time, and then its text, which is cut unless `full` is set."""
    source = str(event.get("source") or "?")
    failed = str(event.get("kind")).endswith("ErrorEvent")
    style = _EVENT_STYLES["error" if failed else source] if source in _EVENT_STYLES else "bold"
    heading = Text(printable(transcript.who(event)), style=style)
    heading.append(f"  {printable(str(event.get('timestamp') or ''))[:19]}", style="dim")
    out.print(heading)
    texts = (printable(text, lines=True) for text in transcript.texts(event))
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    shown = lines if full else lines[:_EVENT_LINES]
    for line in shown:
        out.print(Text(f"  {line}"))
    if len(shown) < len(lines):
        out.print(Text(f"  … {len(lines) - len(shown)} more lines (--full shows them)", style="dim"))
