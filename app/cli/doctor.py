"""`convstore doctor`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from .. import __version__
from ..logs import printable
from ..store.admin.doctor import examine_store
from ..store.admin.findings import Finding, Level
from .context import DirContextOptions
from .output import out, print_json, styled

_FOUND = 1
_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "bold red"}


def doctor_command(
    *,
    sample: Annotated[int, typer.Option(min=1, help="The number of conversations to compare with the index.")] = 20,
    context: DirContextOptions,
) -> None:
    """Check a store for problems, and show what to do. Changes nothing. Exit code 1 if there is a problem.

    Example: convstore doctor --store workspace/conversations
    """

    async def examine() -> list[Finding]:
        found = []
        async for finding in examine_store(context.settings, __version__, sample=sample):
            found.append(finding)
            if not context.json:
                _print(finding)
        return found

    findings = asyncio.run(examine())
    problems = sum(finding.level == Level.PROBLEM for finding in findings)
    if context.json:
        print_json([finding._asdict() for finding in findings])
    else:
        out.print(f"{problems} problem{'s' * (problems > 1)}" if problems else "no problem")
    if problems:
        raise typer.Exit(_FOUND)


def _print(finding: Finding) -> None:
    head = styled(f"{finding.level:8}", _STYLES[finding.level])
    out.print(f"{head}{finding.check:12} {printable(finding.found)}")
    if finding.advice:
        out.print(f"{'':21}-> {printable(finding.advice)}")
