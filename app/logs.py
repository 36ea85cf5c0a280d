"""Logging: plain lines on standard error, one format for convstore and uvicorn."""

from __future__ import annotations

import logging
import logging.config


def configure(level: str) -> None:
    """Send everything from `level` ("debug" to "error") upwards to standard error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
            },
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {"aiosqlite": {"level": "INFO"}, "alembic": {"level": "WARNING"}},
        }
    )
