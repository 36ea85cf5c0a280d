"""An index that many examples share: hypothesis runs hundreds, and each fills it anew."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from app.index.sqlite.database import Index

T = TypeVar("T")


@dataclass(frozen=True)
class Live:
    """An open index with a loop to run it on."""

    runner: asyncio.Runner
    index: Index

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, empty_index: Path) -> Iterator[Live]:
    path = tmp_path_factory.mktemp("live") / "index.db"
    shutil.copyfile(empty_index, path)
    index = Index(path, readers=1, busy_timeout_s=5)
    with asyncio.Runner() as runner:
        runner.run(index.open())
        yield Live(runner, index)
        runner.run(index.close())
