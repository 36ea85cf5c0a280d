"""A descriptor that a thread opens is closed, whatever happens to the task that wants it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from app.descriptors import opened_in_thread


class SlowOpen:
    """Opens a file, but not before it is allowed to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun, self.allowed = threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.begun.set()
        assert self.allowed.wait(30)
        return os.open(self.path, os.O_RDONLY)

    def is_open(self) -> bool:
        """Return whether this process has the file open."""
        found = Path("/proc/self/fd").iterdir()
        return str(self.path) in {str(one.readlink()) for one in found if one.is_symlink()}


@pytest.fixture
def slow_open(tmp_path: Path) -> SlowOpen:
    path = tmp_path / "a file"
    path.write_text("content")
    return SlowOpen(path)


async def cancel_while_it_opens(slow_open: SlowOpen) -> None:
    async def use() -> None:
        async with opened_in_thread(slow_open):
            raise AssertionError

    task = asyncio.create_task(use())
    assert await asyncio.to_thread(slow_open.begun.wait, 30)
    task.cancel()
    slow_open.allowed.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_is_closed_after_the_block(slow_open: SlowOpen) -> None:
    slow_open.allowed.set()
    async with opened_in_thread(slow_open) as descriptor:
        assert os.read(descriptor, 10) == b"content"
    assert not slow_open.is_open()


async def test_it_is_closed_if_its_task_was_cancelled_while_the_thread_opened_it(slow_open: SlowOpen) -> None:
    await cancel_while_it_opens(slow_open)
    assert not slow_open.is_open()


async def test_an_error_of_a_cancelled_opening_is_not_raised(slow_open: SlowOpen) -> None:
    slow_open.path.unlink()

    await cancel_while_it_opens(slow_open)
