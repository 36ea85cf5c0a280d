"""What a doctor says: a check, how it came out, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How a check came out; a note needs no action."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing that was looked at, what was found, and what to do; nothing to do is ""."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that all is as it should be."""
    return Finding(check, Level.OK, found)


def note(check: str, found: str, advice: str = "") -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(check, Level.NOTE, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding that needs action."""
    return Finding(check, Level.PROBLEM, found, advice)
