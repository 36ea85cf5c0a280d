"""Ends a run that hangs where pytest-timeout, which speaks up once in a test, cannot end it."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Generator

import pytest

_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_stderr] = os.dup(2)  # before pytest captures it
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a job in the background has it, and its children
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _watch(config: pytest.Config) -> None:
    """From now on, the process has twice a test's limit before it ends with the stacks of its threads."""
    given = config.getoption("timeout")
    limit_s = 2 * float(config.getini("timeout") if given is None else given)
    if limit_s:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=config.stash[_stderr])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _watch(item.config)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item) -> None:
    """A test has failed: its fixtures' ends, for which others stop their clocks, have a limit as well."""
    _watch(node.config)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that does not end would keep the process from ending."""
    _watch(config)
