"""Options that several commands share, and the question before what cannot be undone."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from app.errors import InvalidSettings

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_match_age = re.compile(r"([0-9]{1,6})([mhdw])").fullmatch


def parse_age(text: str) -> int:
    """Return the microseconds that 30m, 12h, 180d or 4w last."""
    match = _match_age(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no age; write a number and m, h, d or w, as in 180d")
    return int(match[1]) * _UNITS_S[match[2]] * 1_000_000


DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also while another program is writing to it.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; `yes` is the answer already. Ends the command when the answer is no, or none.

    Raises:
        InvalidSettings: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidSettings(
            f"{question} Nobody can be asked here; give --yes, or --dry-run to see what would be done"
        )
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as abort:  # which typer itself would end with 1, as if something was found
        raise typer.Exit(130 if isinstance(abort.__context__, KeyboardInterrupt) else 2) from abort
    if not agreed:
        raise typer.Exit(2)
