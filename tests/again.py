"""A second try of a few failed tests, alone. A busy machine may fail one of thousands; the end of the run names it."""

from __future__ import annotations

import pytest

MOST = 3


class _Again:
    """Ends the run before it begins when too many tests failed, and names at its end those that passed now."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if len(session.items) > MOST:
            pytest.exit(
                f"{len(session.items)} tests failed, more than the {MOST} that are tried once more", returncode=1
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed[report.nodeid] = self.passed.get(report.nodeid, True) and not report.failed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test in (test for test, passed in self.passed.items() if passed):
            terminalreporter.write_line(f"UNSTABLE: {test} failed at first, and passed alone", red=True, bold=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Again())
