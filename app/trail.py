"""The audit trail: one log line for each write, export and refused key, by a server or a command.

A line never has a query, a body or a key. It goes to the logger `audit`; `app.logs` knows where that one writes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LOGGER = "audit"
_IDS_MAX = 100

log = logging.getLogger(LOGGER)


class Act(StrEnum):
    """What a line is about."""

    WRITE = "write"
    EXPORT = "export"
    REFUSED_KEY = "refused key"


class Result(StrEnum):
    """How an act ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class _Mentioned:
    ids: list[str] = field(default_factory=list)
    dry_run: bool = False


_mentioned: ContextVar[_Mentioned | None] = ContextVar("mentioned", default=None)


def begin() -> None:
    """Begin a request or a command that has no conversations yet."""
    _mentioned.set(_Mentioned())


def end() -> None:
    """End it."""
    _mentioned.set(None)


def is_begun() -> bool:
    """Whether this is a request or command that may get a line."""
    return _mentioned.get() is not None


def mention(ids: Iterable[str], *, dry_run: bool = False) -> None:
    """Add conversations that this request or command changes or exports, by ids with dashes.

    With `dry_run`, the line says that nothing was changed.
    """
    mentioned = _mentioned.get()
    if mentioned is not None:
        mentioned.ids.extend(ids)
        mentioned.dry_run = dry_run


def list_mentioned() -> list[str]:
    """Return the conversations that were mentioned."""
    mentioned = _mentioned.get()
    return [] if mentioned is None else list(dict.fromkeys(mentioned.ids))


def write(act: Act, result: Result, *, method: str, route: str, status: int, ids: list[str], **who: object) -> None:
    """Write one line. `who` are fields about the client; a field that is None or "" is left out."""
    more: dict[str, Any] = {}
    mentioned = _mentioned.get()
    if mentioned is not None and mentioned.dry_run:
        more["dry_run"] = True
    if ids:
        more["conversations"] = ids[:_IDS_MAX]
    if len(ids) > _IDS_MAX:
        more["conversations_count"] = len(ids)
    more |= {name: value for name, value in who.items() if value not in (None, "")}
    told = {"audit": act.value, "result": result.value, "method": method, "route": route, "status": status, **more}
    log.info("%s: %s %s %d result=%s%s", act, method, route, status, result, _describe(more), extra={"fields": told})


def _describe(more: Mapping[str, Any]) -> str:
    """Return the fields that the beginning of a line does not have."""
    return "".join([f" {name}={','.join(value) if isinstance(value, list) else value}" for name, value in more.items()])
