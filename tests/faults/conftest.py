"""Some faults need strace; where it is missing, that is said at the end of the run."""

from __future__ import annotations

import pytest

from tests.faults.strace import is_usable

collect_ignore = [] if is_usable() else ["test_every_call.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for test in collect_ignore:
        line = f"NOT TRIED: tests/faults/{test}, because strace is missing or may not attach to a process"
        terminalreporter.write_line(line, red=True, bold=True)
