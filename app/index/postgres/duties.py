"""The duties of which one process at a time has each: to lead and to sync. They are rows with a heartbeat.

A lock of a session would not do: the server keeps the session of a host that was cut off for 40 s and more. If the
holder's connection has ended, its duty is free at once; if it is only silent, after `_DEAD_S`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from contextlib import suppress
from typing import Any

import psycopg

from .db_errors import ERRORS, explain
from .server import Server

log = logging.getLogger(__name__)

_BEAT_S = 5.0
_DEAD_S = 30
_TAKE = f"""
    INSERT INTO duty (name, holder, beat_at, backend, backend_start)
    SELECT %(name)s, %(holder)s, clock_timestamp(), pid, backend_start
    FROM pg_stat_activity WHERE pid = pg_backend_pid()
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, beat_at = excluded.beat_at, backend = excluded.backend,
        backend_start = excluded.backend_start
    WHERE duty.beat_at < clock_timestamp() - interval '{_DEAD_S} seconds' OR NOT EXISTS
        (SELECT 1 FROM pg_stat_activity AS one WHERE one.pid = duty.backend AND one.backend_start = duty.backend_start)
    RETURNING 1
"""  # noqa: S608
_BEAT = """
    UPDATE duty SET beat_at = clock_timestamp(), backend = one.pid, backend_start = one.backend_start
    FROM pg_stat_activity AS one WHERE one.pid = pg_backend_pid() AND duty.holder = %(holder)s
"""
_RELEASE = "DELETE FROM duty WHERE name = %(name)s AND holder = %(holder)s"


class Duties:
    """The duties that one index of one process has. They have a connection of their own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._holder = secrets.token_hex(8)
        self._guard = threading.Lock()
        self._connected: psycopg.Connection[tuple[Any, ...]] | None = None
        self._names: set[str] = set()
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._closed = False

    def open(self) -> None:
        """Let duties be taken again after `close`."""
        self._closed = False

    def take(self, name: str) -> bool:
        """Take a duty, and return whether this object has it now. False if it had it already, or is closed.

        Raises:
            IndexUnusable: the server does not answer.
        """
        with self._guard:
            if self._closed:  # meanwhile, as a thread goes on after its task was cancelled
                return False
            try:
                taken = self._execute(_TAKE, name).fetchone() is not None
            except ERRORS as error:
                raise explain(error, self._server.name) from error
            if taken:
                self._names.add(name)
                if self._beating is None:
                    self._stop.clear()
                    self._beating = threading.Thread(target=self._beat, name="index-duties", daemon=True)
                    self._beating.start()
            return taken

    def release(self, name: str) -> None:
        """Give up a duty. If the server does not answer, it becomes free by itself."""
        with self._guard, suppress(*ERRORS):
            if name in self._names:
                self._names.discard(name)
                self._execute(_RELEASE, name)

    def close(self) -> None:
        """Give up all duties, take none any more, and close the connection."""
        with self._guard:
            self._closed = True
            self._stop.set()
            with suppress(*ERRORS):
                for name in self._names:
                    self._execute(_RELEASE, name)
            self._names.clear()
            if self._connected is not None:
                self._connected.close()
                self._connected = None
        if self._beating is not None:
            self._beating.join()
            self._beating = None

    def _execute(self, text: str, name: str) -> psycopg.Cursor[tuple[Any, ...]]:
        if self._connected is None or self._connected.closed:
            self._connected = self._server.connect()
        return self._connected.execute(text, {"name": name, "holder": self._holder})

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_S):
            with self._guard:
                if not self._names:
                    continue
                try:
                    self._execute(_BEAT, "")
                except ERRORS as error:
                    log.warning("the server of the index does not hear this process: %s", error)
