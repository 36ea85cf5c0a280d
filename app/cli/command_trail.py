"""The audit trail of commands: a line for each that changes or exports conversations, if there is an audit file."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from .. import logs, trail
from ..trail import Act, Result

_METHOD = "COMMAND"
_FAILED = 2
_INTERRUPTED = 130


@contextmanager
def audited(act: Act, command: str) -> Iterator[None]:
    """Write the line of a command when the block ends, if it mentioned conversations (`trail.mention`).

    `make_settings` opens the audit file, so that a command whose line cannot be written changes nothing. The status of
    a line is the exit code. Code 1 means that the command is done and found problems.
    """
    trail.begin()
    trail.log.propagate = False  # what a command prints is for its user
    status = _FAILED
    try:
        yield
        status = 0
    except typer.Exit as ended:
        status = ended.exit_code
        raise
    except KeyboardInterrupt:
        status = _INTERRUPTED
        raise
    finally:
        if ids := trail.list_mentioned():
            result = Result.DONE if status < _FAILED else Result.FAILED
            who = {"user": _find_user(), "uid": os.getuid(), "pid": os.getpid()}
            trail.write(act, result, method=_METHOD, route=command, status=status, ids=ids, **who)
        logs.send_audit_to(None)
        trail.log.propagate = True
        trail.end()


def _find_user() -> str:
    """Return the name of the user, as the system knows it, or "" for a user id without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
