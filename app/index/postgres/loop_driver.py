"""Statements over one connection to PostgreSQL, sent and received by the event loop itself.

psycopg's own `AsyncConnection.execute` takes 110 us of processor time for one row, and wakes several tasks for a large
result. This takes 25 us: a statement goes out with its parameters at once, and the loop calls back when an answer has
come. psycopg connects, passes the calls on to libpq (`psycopg.pq`), and converts the values by its adapters.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

_PREPARED_AFTER = 2
"""How often a statement is run before it is prepared. PostgreSQL plans it five times more and may keep its plan."""
_PREPARED_MAX = 100
_COUNTED_MAX = 1000
_CANCEL_S = 2.0
_ENDS = ("FATAL", "PANIC")
"""The severities of errors after which the server ends the connection."""

_Key = tuple[bytes, tuple[int, ...]]


class _Query(NamedTuple):
    """A statement as PostgreSQL takes it, and the names of its parameters in their order."""

    text: bytes
    names: tuple[str, ...]


@lru_cache(maxsize=2048)
def _parse(text: str) -> _Query:
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        return f"${names.setdefault(found[1], len(names) + 1)}"

    written = re.sub(r"%\((\w+)\)s|%%", number, text)
    return _Query(written.encode(), tuple(names))


class LoopDriver:
    """Runs one statement at a time. It takes over the connection, which nobody else may use."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._values = Transformer(connection)
        self._loop = asyncio.get_running_loop()
        self._socket = self._libpq.socket
        self._answer: asyncio.Future[list[PGresult]] | None = None
        self._results: list[PGresult] = []
        self._runs: dict[_Key, int] = {}
        self._prepared: dict[_Key, bytes] = {}
        self._named = 0
        self._ending: asyncio.Task[None] | None = None
        self._loop.add_reader(self._socket, self._receive)
        self._listens = True

    @property
    def closed(self) -> bool:
        """Whether the connection was closed or lost."""
        return self._connection.closed

    @property
    def at_rest(self) -> bool:
        """Whether the connection is open, and neither a statement nor a transaction is under way."""
        return self._libpq.transaction_status == TransactionStatus.IDLE

    def close(self) -> None:
        """Close the connection."""
        if self._listens:
            self._listens = False  # the number of the socket may be another's soon
            with suppress(OSError, RuntimeError):
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
        self._libpq.finish()

    async def fetch(
        self, text: str, parameters: Mapping[str, object], *, prepare: bool = True
    ) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any.

        Raises:
            psycopg.Error: the server refuses the statement, or the connection is lost.
        """
        query = _parse(text)
        formats = [PyFormat.AUTO] * len(query.names)
        values = self._values.dump_sequence([parameters[name] for name in query.names], formats)
        types, written_as = tuple(self._values.types or ()), self._values.formats
        key = (query.text, types)
        name = await self._prepare(key) if prepare else None
        if name is None:
            self._libpq.send_query_params(query.text, values, types, written_as, Format.BINARY)
        else:
            self._libpq.send_query_prepared(name, values, written_as, Format.BINARY)
        try:
            result = await self._wait()
        except FeatureNotSupported:  # since it was prepared, a migration has changed the type of a column
            if self._prepared.pop(key, None) is None or not self.at_rest:
                raise
            return await self.fetch(text, parameters, prepare=False)
        self._values.set_pgresult(result, format=Format.BINARY)
        rows = self._values.load_rows(0, result.ntuples, tuple) if result.status == ExecStatus.TUPLES_OK else []
        self._values.set_pgresult(None)
        return rows

    async def _prepare(self, key: _Key) -> bytes | None:
        """Return the name of a statement that is prepared by now, or None."""
        name = self._prepared.get(key)
        if name is not None:
            return name
        runs = self._runs.pop(key, 0) + 1
        if runs <= _PREPARED_AFTER:
            if len(self._runs) >= _COUNTED_MAX:
                self._runs.clear()
            self._runs[key] = runs
            return None
        if len(self._prepared) >= _PREPARED_MAX:
            self._prepared.clear()
            self._libpq.send_query_params(b"DEALLOCATE ALL", None)
            await self._wait()
        self._named += 1  # no name is used twice: a caller that leaves may leave a statement that was prepared
        name = b"convstore_%d" % self._named
        self._libpq.send_prepare(name, key[0], key[1])
        await self._wait()
        self._prepared[key] = name
        return name

    async def _wait(self) -> PGresult:
        """Return the result of the statement that was sent."""
        self._answer = answer = self._loop.create_future()
        try:
            self._send()
            results = await answer
        except asyncio.CancelledError:
            await self._cancel(answer)
            raise
        finally:
            self._answer = None
        result = results[-1]
        if result.status == ExecStatus.FATAL_ERROR:
            error = error_from_result(result)
            if error.diag.severity_nonlocalized in _ENDS or self.closed:
                self.close()
            raise error
        return result

    async def _cancel(self, answer: asyncio.Future[list[PGresult]]) -> None:
        """End the statement whose caller was cancelled, or else the connection."""
        if self._libpq.transaction_status != TransactionStatus.ACTIVE:
            return  # the answer came meanwhile
        self._answer = answer = self._loop.create_future() if answer.cancelled() else answer
        self._ending = asyncio.create_task(self._ask_to_end())
        try:
            async with asyncio.timeout(_CANCEL_S):
                await asyncio.shield(self._ending)
                await answer
        except (psycopg.Error, TimeoutError):
            self.close()
        except asyncio.CancelledError:  # the caller waits no longer; the server is still asked
            self.close()
            raise

    async def _ask_to_end(self) -> None:
        with suppress(psycopg.Error):
            await self._connection.cancel_safe(timeout=_CANCEL_S)

    def _send(self) -> None:
        """Send what libpq has not sent yet."""
        try:
            if self._libpq.flush():
                self._loop.add_writer(self._socket, self._send)
            else:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._lose(error)

    def _receive(self) -> None:
        """Take what the server sent."""
        try:
            self._libpq.consume_input()
            while not self._libpq.is_busy():
                result = self._libpq.get_result()
                if result is None:
                    break
                self._results.append(result)
            else:
                return
        except psycopg.Error as error:
            self._lose(error)
            return
        results, self._results = self._results, []
        if results and self._answer is not None and not self._answer.done():
            self._answer.set_result(results)

    def _lose(self, error: psycopg.Error) -> None:
        """Give up the connection."""
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
