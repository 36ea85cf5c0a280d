"""Says loudly which tests against the real packages cannot run here."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if "OPENHANDS_PYTHON" not in os.environ:
        terminalreporter.write_line(
            "NOT TESTED HERE: the real openhands-sdk, because OPENHANDS_PYTHON names no Python that has it",
            yellow=True,
            bold=True,
        )
