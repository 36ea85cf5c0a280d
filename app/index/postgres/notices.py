"""Messages between the processes that use an index, by LISTEN and NOTIFY on a connection of their own.

A NOTIFY inside a transaction would make all commits wait for each other, so messages are sent after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from ..hosts import Heard
from .db_errors import ERRORS
from .server import Server

log = logging.getLogger(__name__)

_GATHER_S = 0.01
"""The pause between two sendings. Equal messages that wait are sent once."""
_RETRY_S = 0.5
_LAST_S = 1.0
"""The seconds within which waiting messages are sent when the index is closed."""
_WAITING_MAX = 10_000


class Notices:
    """The messages of one process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._channel = f"convstore_{hashlib.sha256(server.schema.encode()).hexdigest()[:16]}"
        self._heard: Heard | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, None] = {}
        self._sent = asyncio.Event()
        self._sent.set()
        self._has_waiting: asyncio.Event | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def listen(self, heard: Heard) -> None:
        """Call `heard` with each message from now on."""
        self._heard = heard
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._has_waiting = asyncio.Event()
            self._tasks = [asyncio.create_task(self._keep(work)) for work in (self._receive, self._send)]

    def send(self, message: str) -> None:
        """Send a message soon. May be called in any thread; does nothing before `listen`."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._add, message)

    def _add(self, message: str) -> None:
        if self._has_waiting is not None and len(self._waiting) < _WAITING_MAX:
            self._waiting[message] = None
            self._sent.clear()
            self._has_waiting.set()

    async def close(self) -> None:
        """Send what waits, and stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._sent.wait()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks, self._loop = [], None

    async def _keep(self, work: Any) -> None:  # noqa: ANN401
        """Run `work` with a connection, which is made again when it is lost."""
        while True:
            try:
                connection = await self._server.connect_to_read()
                try:
                    await work(connection)
                finally:
                    await connection.close()
            except ERRORS as error:
                log.debug("messages of other hosts are not heard: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _receive(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        async for notify in connection.notifies():
            if self._heard is not None:
                self._heard(notify.payload)

    async def _send(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        assert self._has_waiting is not None  # noqa: S101 - `listen` made it
        while True:
            await self._has_waiting.wait()
            self._has_waiting.clear()
            sent = list(self._waiting)
            query = "SELECT pg_notify(%s, one) FROM unnest(CAST(%s AS text[])) AS one"
            await connection.execute(query, (self._channel, sent))
            for message in sent:
                self._waiting.pop(message, None)
            if not self._waiting:
                self._sent.set()
            await asyncio.sleep(_GATHER_S)
