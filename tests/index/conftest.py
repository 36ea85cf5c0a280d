"""An index, and the database whose plans are looked at."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from tests.index.builders import opened
from tests.index.plans import fill


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "index.db"
    migrations.upgrade(path)
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.fixture
def path(root: Path) -> Path:
    return root / ".convstore" / "index.db"


@pytest.fixture
async def index(path: Path) -> AsyncIterator[Index]:
    async with opened(path, readers=1) as index:
        yield index
