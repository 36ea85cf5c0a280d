"""What a check of the doctor found, and the next step."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ELSEWHERE = "make its directory readable and writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"


class Level(StrEnum):
    """The result of a check. A note needs no action."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """The name of a check, its result, and the next step ("" for none)."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Level.OK, found)


def note(check: str, found: str, advice: str = "") -> Finding:
    """Return a finding that is informative but needs no action."""
    return Finding(check, Level.NOTE, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding that needs action."""
    return Finding(check, Level.PROBLEM, found, advice)
