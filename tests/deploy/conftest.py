"""The recipes need programs that a machine may lack; what could not be tried is said at the end of the run."""

from __future__ import annotations

import os
import shutil

import pytest

NEEDED = {"test_nginx.py": "nginx", "test_systemd.py": "systemd-analyze"}

collect_ignore = [test for test, program in NEEDED.items() if not shutil.which(program)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = [f"tests/deploy/{test}, because {NEEDED[test]} is not installed" for test in collect_ignore]
    if "OPENHANDS_PYTHON" not in os.environ:
        missing.append("nginx before a real agent-server, because OPENHANDS_PYTHON names no Python that has one")
    for what in missing:
        terminalreporter.write_line(f"NOT TRIED: {what}", red=True, bold=True)
