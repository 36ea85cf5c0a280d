"""The library's API: small, documented, typed, and loaded only as far as it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

import app
from tests.documents import PAGES
from tests.rules.test_structure import loaded

HEAVY = {"sqlalchemy", "aiosqlite", "alembic", "sqlite3", "fastapi", "starlette", "uvicorn", "pydantic", "mcp", "anyio"}
PAGE = PAGES["docs/library.md"]


@pytest.mark.parametrize("code", ["import app", "from app import ConversationFilter, SortOrder, StoreError"])
def test_an_import_loads_no_sql_no_http_and_no_mcp(code: str) -> None:
    assert loaded(code) & HEAVY == set()


def test_every_public_name_is_there_and_documented() -> None:
    assert [name for name in app.__all__ if not hasattr(app, name)] == []
    assert [name for name in app.__all__ if f"`{name}`" not in PAGE and name != "__version__"] == []


def test_every_method_of_the_plain_store_is_documented() -> None:
    methods = [name for name in (*vars(app.SyncStore), "append") if not name.startswith("_")]
    assert [name for name in methods if f"`{name}`" not in PAGE] == []


def test_type_checkers_read_the_annotations_of_the_package() -> None:
    assert Path(app.__file__).with_name("py.typed").exists()
