"""The database of the index in a test: SQLite; in the second half of a test that is marked `both_engines`, PostgreSQL.

With CONVSTORE_TEST_ENGINE=postgres (`make engines`), the stores of all tests have their index in PostgreSQL. Each test
has a database of its own, a copy of one that the migrations made. Tests of something that only SQLite has are skipped
by name, with the reason.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

TESTS = Path(__file__).parent
ENGINE = os.environ.get("CONVSTORE_TEST_ENGINE", "sqlite")
_TEMPLATE = "convstore_template"
_SCHEMA = "convstore"

_OF_SQLITE: dict[str, str] = {
    "index/sqlite": "it tests SQLite's own modules",
}
"""How the names of tests begin that are of SQLite alone, and why."""

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def new_database(postgres_url: str) -> Iterator[NewDatabase]:
    """A function that makes a database with an index as the migrations leave it, yields its URL, and drops it."""
    import psycopg  # noqa: PLC0415 - need not be installed
    from psycopg import sql  # noqa: PLC0415

    from app.index.postgres import migrations  # noqa: PLC0415
    from app.index.postgres.server import Server  # noqa: PLC0415

    @contextmanager
    def database(name: str, template: str) -> Iterator[str]:
        named, source = sql.Identifier(name), sql.Identifier(template)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(named, source))
        try:
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(named))

    template = f"{_TEMPLATE}_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin, database(template, "template1") as url:
        migrations.upgrade(Server(url, _SCHEMA), wait_s=60)
        yield lambda: database(f"test_{secrets.token_hex(8)}", template)


@pytest.fixture(scope="module", autouse=True)
def _database_of_module(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The database of the stores that all tests of a module share."""
    if ENGINE == "sqlite":
        yield None
        return
    new: NewDatabase = request.getfixturevalue("new_database")
    with new() as url, pytest.MonkeyPatch.context() as patch:
        _use(patch, url, _SCHEMA)
        yield url


@pytest.fixture(autouse=True)
def engine(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    _no_settings_from_outside: None,
    _database_of_module: str | None,
) -> Iterator[str]:
    """The database of the index: "sqlite" or "postgres"."""
    name: str = getattr(request, "param", ENGINE)
    if name == "sqlite":
        yield name
    elif _database_of_module is None:
        _use(monkeypatch, request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
        yield name
    elif _shares_fixtures(request):
        _use(monkeypatch, _database_of_module, _SCHEMA)
        yield name
    else:
        new: NewDatabase = request.getfixturevalue("new_database")
        with new() as url:
            _use(monkeypatch, url, _SCHEMA)
            yield name


def _use(patch: pytest.MonkeyPatch, url: str, schema: str) -> None:
    patch.setenv("CONVSTORE_INDEX_URL", url)
    patch.setenv("CONVSTORE_INDEX_SCHEMA", schema)


def _shares_fixtures(request: pytest.FixtureRequest) -> bool:
    """Whether a test has a fixture of its module, which may be an open store."""
    known = request.node._fixtureinfo.name2fixturedefs.values()
    return any(one[-1].scope == "module" and one[-1].func is not _database_of_module for one in known)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_engines: also run with an index in PostgreSQL; that half is long")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("both_engines") is not None and ENGINE == "sqlite":
        engines = ["sqlite", pytest.param("postgres", marks=[pytest.mark.long, pytest.mark.postgres])]
        metafunc.parametrize("engine", engines, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if ENGINE == "sqlite":
        return
    for item in items:
        name = str(item.path.relative_to(TESTS)) + item.nodeid[item.nodeid.index("::") :]
        for beginning, why in _OF_SQLITE.items():
            if name.startswith(beginning):
                item.add_marker(pytest.mark.skip(reason=f"only with SQLite: {why}"))
