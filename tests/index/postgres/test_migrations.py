"""The schema in PostgreSQL has the same newest revision as SQLite's, and is what the tables say."""

from __future__ import annotations

import asyncio

import pytest

from app import Settings
from app.index import opening
from app.index.sqlite import migrations as sqlite_migrations

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_both_databases_have_one_newest_revision_and_no_drift(settings: Settings) -> None:
    assert opening.examine_schema(settings).revision is None
    await asyncio.gather(*(asyncio.to_thread(opening.upgrade_schema, settings) for _ in range(3)))
    schema = opening.examine_schema(settings)
    assert (schema.revision, schema.head, schema.faults) == (sqlite_migrations.HEAD, sqlite_migrations.HEAD, [])
    assert schema.history[0][0] == sqlite_migrations.HEAD
