"""The database whose plans are looked at."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.index.sqlite import migrations
from tests.index.plans import fill


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "index.db"
    migrations.upgrade(path)
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as connection:
        yield connection
