"""The host of this process in PostgreSQL: its row with a heartbeat, and the time until which it may write.

All times between hosts are those of the server's clock. A process may write until `fence_s` after it *sent* its last
successful heartbeat; others may count it as dead only `dead_s` after the server received one. So it has stopped
writing before another host takes over its conversations, also if the process was stopped or its machine slept:
CLOCK_BOOTTIME goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, NamedTuple

import psycopg

from ...errors import HostSilent
from ..hosts import FoundHost, Heard
from .db_errors import ERRORS, explain
from .notices import Notices
from .server import Server

log = logging.getLogger(__name__)


class Times(NamedTuple):
    """The seconds between heartbeats, until a silent host stops writing, and until others count it as dead."""

    beat_s: float
    fence_s: float
    dead_s: float


TIMES = Times(beat_s=5, fence_s=20, dead_s=30)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_RETRY_S = 1.0
_JOIN = """
    INSERT INTO host (instance, boot, beat_at, dead) VALUES (%(instance)s, %(boot)s, clock_timestamp(), false)
    ON CONFLICT (instance) DO UPDATE SET beat_at = clock_timestamp() WHERE NOT host.dead
    RETURNING 1
"""
_FORGET = "DELETE FROM host WHERE beat_at < clock_timestamp() - interval '1 day'"
_BEAT = "UPDATE host SET beat_at = clock_timestamp() WHERE instance = %(instance)s AND NOT dead"
_FIND = """
    SELECT boot, dead, beat_at < clock_timestamp() - %(dead_s)s * interval '1 second'
    FROM host WHERE instance = %(instance)s
"""
_BURY = """
    UPDATE host SET dead = true
    WHERE instance = %(instance)s AND NOT dead AND beat_at < clock_timestamp() - %(dead_s)s * interval '1 second'
"""

_LIVING = """
    SELECT instance FROM host WHERE NOT dead AND beat_at > clock_timestamp() - %(dead_s)s * interval '1 second'
    ORDER BY instance
"""

_Connection = psycopg.Connection[tuple[Any, ...]]


def list_living(server: Server) -> list[str]:
    """Return the names of the hosts that have beaten lately.

    Raises:
        psycopg.Error: the server does not answer.
    """
    with server.connect() as connection:
        return [str(name) for (name,) in connection.execute(_LIVING, {"dead_s": TIMES.dead_s})]


def measure_clock(server: Server) -> float:
    """Return by how many seconds the server's clock is ahead of this machine's.

    Raises:
        psycopg.Error: the server does not answer.
    """
    with server.connect() as connection:
        sent_at = time.time()
        row = connection.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)").fetchone()
        return 0.0 if row is None else float(row[0]) - (sent_at + time.time()) / 2


class PostgresHosts:
    """The hosts of an index in PostgreSQL. The heartbeat has a thread and a connection of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._times = TIMES
        self._notices = Notices(server)
        self._instance: str | None = None
        self._boot = ""
        self._until = 0.0
        """The time on `_CLOCK` until which this process may write."""
        self._dead = False
        self._beating: threading.Thread | None = None
        self._stop = threading.Event()
        self._asking: _Connection | None = None
        self._asking_lock = threading.Lock()
        self._closed = False

    @property
    def dead(self) -> bool:
        """Whether other hosts count this one as dead."""
        return self._dead

    def join(self, instance: str, boot: str) -> bool:
        """Be a process of the host `instance`. See `app.index.hosts`."""
        sent_at = time.clock_gettime(_CLOCK)
        try:
            with self._server.connect() as connection:
                connection.execute(_FORGET)
                joined = connection.execute(_JOIN, {"instance": instance, "boot": boot}).fetchone() is not None
        except ERRORS as error:
            raise explain(error, self._server.name) from error
        if joined:
            self._instance, self._boot, self._dead = instance, boot, False
            self._until = sent_at + self._times.fence_s
            if self._beating is None:
                self._beating = threading.Thread(target=self._beat, name="index-host", daemon=True)
                self._beating.start()
        return joined

    def find(self, instance: str) -> FoundHost | None:
        """Return a host, or None if it is unknown. See `app.index.hosts`."""
        given = {"instance": instance, "dead_s": self._times.dead_s}
        with self._asking_lock:
            try:
                found = self._ask(_FIND, given).fetchone()
                if found is None:
                    return None
                boot, dead, silent = found
                if silent and not dead and self._ask(_BURY, given).rowcount:
                    log.warning("host %s has been silent for %g s and counts as dead", instance, self._times.dead_s)
                    dead = True
            except ERRORS as error:
                raise explain(error, self._server.name) from error
        return FoundHost(str(boot), not dead)

    def _ask(self, text: str, given: dict[str, object]) -> psycopg.Cursor[tuple[Any, ...]]:
        if self._closed:  # meanwhile, as a thread goes on after its task was cancelled
            raise psycopg.OperationalError("the index is closed")
        if self._asking is not None and not self._asking.closed:
            try:
                return self._asking.execute(text, given)
            except psycopg.OperationalError:
                if not self._asking.closed:
                    raise
        self._asking = self._server.connect()
        return self._asking.execute(text, given)

    def require_alive(self) -> None:
        """Check that no other host may count this one as dead now."""
        if self._instance is None:
            return
        if self._dead or time.clock_gettime(_CLOCK) > self._until:
            raise HostSilent(
                f"this server has not reached the index {self._server.name} for {self._times.fence_s:g} s, so another "
                "host may take over its conversations, and it writes to none; try again"
            )

    def send(self, message: str) -> None:
        """Send a message to all processes that listen."""
        self._notices.send(message)

    def listen(self, heard: Heard) -> None:
        """Call `heard` with each message from now on."""
        self._notices.listen(heard)

    async def close(self) -> None:
        """End the heartbeat and the messages. The host counts as dead when no process of it has beaten for a while."""
        await self._notices.close()
        self._stop.set()
        await asyncio.to_thread(self._stop_asking)

    def _stop_asking(self) -> None:
        with self._asking_lock:
            self._closed = True
            if self._asking is not None:
                self._asking.close()
                self._asking = None

    def _beat(self) -> None:
        connection: _Connection | None = None
        pause_s = self._times.beat_s
        while not self._stop.wait(pause_s):
            try:
                if connection is None or connection.closed:
                    connection = self._server.connect(patience_s=self._times.beat_s)
                    connection.execute("SET synchronous_commit = off")
                self._beat_once(connection)
                pause_s = self._times.beat_s
            except ERRORS as error:
                pause_s = min(_RETRY_S, self._times.beat_s)
                log.warning("the server of the index does not hear this host: %s", str(error).strip())
        if connection is not None:
            connection.close()

    def _beat_once(self, connection: _Connection) -> None:
        if self._dead:
            return
        instance, sent_at = self._instance, time.clock_gettime(_CLOCK)
        if connection.execute(_BEAT, {"instance": instance}).rowcount:
            if instance == self._instance:
                self._until = sent_at + self._times.fence_s
        elif instance == self._instance:
            log.warning("host %s was counted as dead while it was silent; it goes on under another name", instance)
            self._dead = True
