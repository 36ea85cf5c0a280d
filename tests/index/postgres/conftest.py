"""An index in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app import Settings
from app.index.engine import Index
from app.index.opening import make_index


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str, schema: str) -> Settings:
    return Settings(store=tmp_path, index_url=postgres_url, index_schema=schema)


@pytest.fixture
async def index(settings: Settings) -> AsyncIterator[Index]:
    index = make_index(settings, readers=1)
    await index.make_ready(5)
    yield index
    await index.close()
