"""What a program says about itself: log lines on standard error, and how long things took.

In a terminal a line is plain; elsewhere it is one JSON object, for the programs that collect logs. Either way text from
users and files cannot break a line or steer a terminal.
"""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import unicodedata
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

Note = Callable[[str, float], None]
"""Called with the name of what was done and the seconds it took."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered, "" outside of one."""


def ignore_note(_what: str, _seconds: float) -> None:
    """Tell nobody."""


def is_plain(log_format: str) -> bool:
    """Whether this format ("auto", "plain" or "json") means plain lines here; "auto" does in a terminal."""
    return log_format == "plain" or (log_format == "auto" and sys.stderr.isatty())


def configure(level: str, log_format: str = "auto") -> None:
    """Send everything from `level` ("debug" to "error") upwards to standard error."""
    formatter = PlainFormatter if is_plain(log_format) else JsonFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": formatter}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
            },
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {
                "aiosqlite": {"level": "INFO"},
                "alembic": {"level": "WARNING"},
                "uvicorn.error": {"level": "INFO", "filters": [_is_of_no_socket]},
            },
        }
    )


def _is_of_no_socket(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's may be shown: it logs a socket's URL, and below INFO frames; both may hold a key."""
    return not str(record.msg).startswith(('%s - "WebSocket ', "connection open", "connection closed"))


class PlainFormatter(logging.Formatter):
    """One line a record; a traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = f"{self.formatTime(record)} {record.levelname:7} {record.name}: {printable(record.getMessage())}"
        request = request_id.get()
        if request:
            line += f" [{request}]"
        if record.exc_info:
            trace = printable(self.formatException(record.exc_info), lines=True)
            line += "".join(f"\n    {part}" for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, message, request_id, error, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = request_id.get()
        if request:
            fields["request_id"] = request
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def printable(text: str, *, lines: bool = False) -> str:
    """Return text that cannot steer a terminal: control and direction characters become "�"; `lines` keeps breaks."""
    return "".join(
        c
        if (lines and c in "\n\t") or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or c == "\u200d"
        else "�"
        for c in text
    )
