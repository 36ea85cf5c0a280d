"""An index with something in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.index.sqlite import migrations
from tests.builders import index_tables


def revisions() -> list[str]:
    return [revision.id for revision in reversed(migrations.history(Path("/nowhere/index.db")))]


async def synced(root: Path, **settings: float) -> dict[str, list[tuple[object, ...]]]:
    """Bring a store's index in step, and return what it holds."""
    async with ConversationStore.open(Settings.model_validate({"store": root, "timezone": "UTC", **settings})) as store:
        await store.sync()
    return index_tables(root / ".convstore" / "index.db")


@pytest.fixture
def index(corpus: Path) -> Path:
    """The index of a whole store, and in step."""
    asyncio.run(synced(corpus))
    return corpus / ".convstore" / "index.db"
