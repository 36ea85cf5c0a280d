"""Log lines on standard error.

In a terminal a line is plain text. Elsewhere it is one JSON object, for programs that collect logs. In both formats,
text from users and files cannot break a line or control a terminal.
"""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import unicodedata
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered, or "" outside of a request."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id that the request brought in `traceparent`, or ""."""


def is_plain(log_format: str) -> bool:
    """Whether log lines are plain text.

    `format` is "plain", "json", or "auto", which means plain only in a terminal.
    """
    return log_format == "plain" or (log_format == "auto" and sys.stderr.isatty())


def configure(level: str, log_format: str = "auto") -> None:
    """Send records of `level` ("debug" to "error") and above to standard error."""
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
                "audit": {"level": "INFO"},  # also where `level` is higher
                "alembic": {"level": "WARNING"},
                "uvicorn.error": {"level": "INFO", "filters": [_is_of_no_socket]},
            },
        }
    )


def _is_of_no_socket(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn may be logged. Its records about sockets contain the URL, and so perhaps an API key.

    Its records below INFO contain frames, which may also contain a key; the logger's level drops them.
    """
    return not str(record.msg).startswith(('%s - "WebSocket ', "connection open", "connection closed"))


class PlainFormatter(logging.Formatter):
    """One plain line for each record. A traceback follows on indented lines."""

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
    """One JSON object for each record, in ASCII: time (UTC), level, logger, message, request_id, trace_id, error.

    A record may bring further fields in `extra={"fields": {...}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        ids = {"request_id": request_id.get(), "trace_id": trace_id.get()}
        fields |= {name: one for name, one in ids.items() if one}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def printable(text: str, *, lines: bool = False) -> str:
    """Return text that cannot control a terminal: control and direction characters become "�".

    `lines` keeps line breaks.
    """
    return "".join(
        c
        if (lines and c in "\n\t") or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or c == "\u200d"
        else "�"
        for c in text
    )
