"""How the suites share the time of a run, and what a short run leaves to `make check`; told at its end."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import Any

import pytest

LONG = "long"


class _Suites:
    """Collects, of this run, each suite's tests and seconds; of a run in several processes, in the first of them."""

    def __init__(self) -> None:
        self.tests: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)
        self.left = 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left += sum(item.get_closest_marker(LONG) is not None for item in items)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["left"] = self.left

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Another process has ended. Each of them collects all tests, and so leaves out the same ones."""
        self.left = max(self.left, getattr(node, "workeroutput", {}).get("left", 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = _suite_of(report)
        self.tests[suite].add(report.nodeid)
        self.seconds[suite] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.seconds:
            terminalreporter.section("suites")
            terminalreporter.write_line(f"{'suite':<31}{'tests':>6}{'seconds':>9}")
        for suite in sorted(self.seconds, key=self.seconds.__getitem__, reverse=True):
            terminalreporter.write_line(f"{suite:<31}{len(self.tests[suite]):>6}{self.seconds[suite]:>9.1f}")
        if self.left:
            what = "1 long test" if self.left == 1 else f"{self.left} long tests"
            terminalreporter.write_line(f"LEFT TO `make check`: {what}; `make long` runs these alone", yellow=True)


def _suite_of(report: pytest.TestReport) -> str:
    parent = PurePath(report.nodeid.partition("::")[0]).parent
    return ("/".join(parent.parts[:2]) or ".") + (", PostgreSQL" if "postgres" in report.keywords else "")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{LONG}: a sample of a long run; `make test` leaves it to `make check`")
    config.pluginmanager.register(_Suites())
