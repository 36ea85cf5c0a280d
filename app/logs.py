"""Log lines on standard error.

In a terminal a line is plain text. Elsewhere it is one JSON object, for programs that collect logs. In both formats,
text from users and files cannot break a line or control a terminal.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
import unicodedata
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from io import BufferedWriter, FileIO, TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from .errors import InvalidSettings
from .trail import LOGGER

_LINE_MAX_BYTES = 1 << 16

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered, or "" outside of a request."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id that the request brought in `traceparent`, or ""."""


def is_plain(log_format: str) -> bool:
    """Whether log lines are plain text.

    `format` is "plain", "json", or "auto", which means plain only in a terminal.
    """
    return log_format == "plain" or (log_format == "auto" and sys.stderr.isatty())


def configure(level: str, log_format: str = "auto", audit_file: Path | None = None) -> None:
    """Send records of `level` ("debug" to "error") and above to standard error, and the audit trail also to a file.

    Raises:
        InvalidSettings: the file cannot be written to.
    """
    # no line names thread, process or caller, and to look for them takes a quarter of the time of a line
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging._srcfile = None  # noqa: SLF001 - as the HOWTO of logging says
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
                LOGGER: {"level": "INFO"},  # also where `level` is higher
                "alembic": {"level": "WARNING"},
                "uvicorn.error": {"level": "INFO", "filters": [_is_of_no_socket]},
            },
        }
    )
    send_audit_to(audit_file)


def set_level(level: str) -> None:
    """Change the level of a process that called `configure`."""
    logging.getLogger().setLevel(level.upper())


def send_audit_to(path: Path | None) -> None:
    """Append the audit trail to a file as JSON, beside where it goes otherwise. None ends this.

    Raises:
        InvalidSettings: the file cannot be written to.
    """
    logger = logging.getLogger(LOGGER)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        with suppress(OSError):  # the disk may be full; `AuditFile.handleError` has said so
            handler.close()
    if path is None:
        return
    try:
        added = AuditFile(path)
    except OSError as error:
        raise InvalidSettings(
            f"CONVSTORE_AUDIT_FILE: {path} cannot be written to ({error.strerror}); "
            "make its directory, or name another file"
        ) from error
    added.setFormatter(JsonFormatter())
    logger.addHandler(added)
    logger.setLevel(logging.INFO)


class AuditFile(WatchedFileHandler):
    """A file of the audit trail, which several processes may append to, each line in one piece.

    It is made with mode 0600. If it is renamed, as by logrotate, the next line makes a new one.
    """

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return TextIOWrapper(BufferedWriter(FileIO(descriptor, "a"), _LINE_MAX_BYTES), "utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log that a line could not be written. The act itself goes on."""
        error = sys.exc_info()[1]
        logging.getLogger(__name__).error(
            "the audit trail cannot be written to %s (%s): %s", self.baseFilename, error, record.getMessage()
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
        for variable in (request_id, trace_id):
            if value := variable.get():
                fields[variable.name] = value
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
