"""The output of commands: tables, JSON, events, warnings and a progress bar. All text is safe in a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
import typer
from rich.cells import cell_len, set_cell_size

from ..logs import printable
from ..model import transcript

_FLAGS = ("bold", "dim", "reverse")


def styled(text: str, style: str, *, err: bool = False) -> str:
    """Return text for standard output (or `err`) with a style, such as "bold red". Outside a terminal it is plain."""
    words = style.split()
    if not words or os.environ.get("NO_COLOR") or not (sys.stderr if err else sys.stdout).isatty():
        return text
    colour = next((word for word in words if word not in _FLAGS), None)
    return typer.style(text, fg=colour, **{word: True for word in words if word in _FLAGS})


class _Output(NamedTuple):
    """Standard output or standard error."""

    err: bool

    def print(self, text: str = "", *, style: str = "", end: str = "\n") -> None:
        """Print a text without wrapping it. Pass text from users through `printable` first."""
        stream = sys.stderr if self.err else sys.stdout
        stream.write(styled(text, style, err=self.err) + end)
        stream.flush()


out = _Output(err=False)
err = _Output(err=True)

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
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def show(self, phase: str, done: int, total: int) -> None:
        """Show that `done` of `total` items of a phase are done."""
        if self._bar is None:
            if time.monotonic() - self._begun < _BAR_AFTER_S or not sys.stderr.isatty():
                return
            self._bar = _make_bar()
            self._bar.start()
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
        if self._bar is not None:
            self._bar.stop()


def _make_bar() -> Any:  # noqa: ANN401 - importing the type takes 0.1 s, which only a bar is worth
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 hit, 1,200 hits."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def warn(line: str) -> None:
    """Print a yellow line on standard error."""
    err.print(printable(line), style="yellow")


_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def format_age(seconds: float) -> str:
    """Return an age as in "3 hours", rounded down."""
    size, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    number = int(seconds // size)
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


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


class Cell(NamedTuple):
    """A cell of a table, with a style."""

    text: str
    style: str = ""


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str | Cell]]) -> None:
    """Print a table without a frame. Columns whose heading begins with ">" are right-aligned.

    In a terminal, the last column is cut to the remaining width. Elsewhere, all columns are complete.
    """
    names = list(headings)
    lines = [[Cell(name.lstrip(">"), "bold") for name in names]] if any(names) else []
    lines += [[cell if isinstance(cell, Cell) else Cell(printable(cell)) for cell in row] for row in rows]
    widths = [max((cell_len(line[place].text) for line in lines), default=0) for place in range(len(names) - 1)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        out.print(_shown_row(line, names, widths, width))


def _shown_row(line: list[Cell], names: list[str], widths: list[int], width: int | None) -> str:
    *cells, last = line
    shown = []
    for cell, name, wide in zip(cells, names, widths, strict=False):
        blanks = " " * (wide - cell_len(cell.text))
        text = styled(*cell)
        shown.append(blanks + text if name.startswith(">") else text + blanks)
    text = last.text.rstrip()
    if width is not None:
        room = max(width - sum(widths) - len(_GAP) * len(widths), _LAST_MIN)
        if cell_len(text) > room:
            text = set_cell_size(text, room - 1) + "…"
    return _GAP.join([*shown, styled(text, last.style)]).rstrip()


def print_event(event: dict[str, Any], *, full: bool) -> None:
    """Print an event's speaker, action and time, and then its text, which is cut unless `full` is set."""
    source = str(event.get("source") or "?")
    failed = str(event.get("kind")).endswith("ErrorEvent")
    style = _EVENT_STYLES["error" if failed else source] if source in _EVENT_STYLES else "bold"
    when = printable(str(event.get("timestamp") or ""))[:19]
    out.print(styled(printable(transcript.who(event)), style) + styled(f"  {when}", "dim"))
    texts = (printable(text, lines=True) for text in transcript.texts(event))
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    shown = lines if full else lines[:_EVENT_LINES]
    for line in shown:
        out.print(f"  {line}")
    if len(shown) < len(lines):
        out.print(f"  … {len(lines) - len(shown)} more lines (--full shows them)", style="dim")
