"""Large events are checked one after the other and sent in pieces, to limit the memory that they need.

Many clients may read slowly, or not at all. So the bytes of a large event are not kept while a client reads. One thread
reads each file once to check it, and then the file is read again piece by piece for the client. A WebSocket
needs a whole message: one of these is in memory at a time, and a client that does not take its own in time is left.
The page, agents' tools and exports work on whole events: one work at a time in the process has a large one in memory.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from itertools import islice
from time import sleep, time_ns
from typing import TypeVar

from ...descriptors import opened_in_thread
from ...errors import EventNotFound
from ...files.fingerprint import Fingerprint
from ...files.log import event_log
from ...files.log.event_log import RawEvent
from ...files.metadata_reader import Reader
from ...model.event import message_text
from ...model.ids import EventName

T = TypeVar("T")

_PIECE_BYTES = 1 << 16
_WHOLE_AT_ONCE = 1
"""The number of whole large events in memory at a time, besides the one being checked. A socket copies it often."""

_SMALL_BYTES = 1 << 21
"""Work on events with at most so many bytes together needs no permit."""

_CHECKED_MAX = 4096
_LOOK_S = 0.05
"""A thread that waits for its permit looks this often whether its client has left."""

_REST_S = 0.005
"""A thread with a permit rests so long before and after it reads a file.

To parse 20 MB holds Python's lock for 50 ms. Without a rest, the event loop waits so long for each of its steps.
"""


class _Turns:
    """The turns of threads, in the order in which they asked. A plain lock often returns to the thread that had it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: deque[threading.Event] = deque()

    def ask(self) -> threading.Event:
        """Ask for a turn, which has come when the event is set."""
        turn = threading.Event()
        with self._lock:
            self._asked.append(turn)
            self._asked[0].set()
        return turn

    def end(self, turn: threading.Event) -> None:
        """End a turn, or withdraw it before it has come."""
        with self._lock:
            self._asked.remove(turn)
            if self._asked:
                self._asked[0].set()


_turns = _Turns()


class ClientLeft(Exception):
    """The client of some work left, so nobody needs the result. Only the thread of the work sees this error."""


class LargeFilePermit:
    """A thread's right to have a large file in memory. The thread takes it before it reads the file."""

    def __init__(self) -> None:
        self._turn: threading.Event | None = None
        self._left = threading.Event()

    def take(self) -> None:
        """Wait until no thread that asked before has the right, unless this one has it already. `end` must follow.

        Raises:
            ClientLeft: `leave` was called.
        """
        self.require_client()
        if self._turn is None:
            self._turn = _turns.ask()
            while not self._turn.wait(_LOOK_S):
                self.require_client()
            self.rest()

    def rest(self) -> None:
        """Let the event loop run for a moment, if this thread has the right.

        Raises:
            ClientLeft: `leave` was called.
        """
        if self._turn is not None:
            sleep(_REST_S)
        self.require_client()

    def end(self) -> None:
        """End the right, if it was asked for, after the file's bytes were dropped."""
        if self._turn is not None:
            _turns.end(self._turn)
            self._turn = None

    def leave(self) -> None:
        """Say that nobody needs the result of the work. Any thread may call this."""
        self._left.set()

    def require_client(self) -> None:
        """Raise ClientLeft after `leave`."""
        if self._left.is_set():
            raise ClientLeft


class LargeEvents:
    """Reads the large events of one process."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "large-events")
        self._checked: dict[tuple[str, EventName], Fingerprint] = {}
        """Files that can be served. To check one again costs a parse of all its bytes, which holds Python's lock."""
        self._whole = asyncio.Semaphore(_WHOLE_AT_ONCE)

    def close(self) -> None:
        """Stop the thread that checks events."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def open(self, reader: Reader, directory: str, name: EventName) -> AsyncGenerator[bytes, None]:
        """Check an event's file, and return a generator of its bytes.

        Raises:
            EventNotFound: the file cannot be served; the message says why.
        """
        [found] = await asyncio.to_thread(event_log.guess_fingerprints, reader, directory, [name])
        if found is not None and self._checked.get((directory, name)) == found:
            return _read_pieces(reader, directory, name, found.size_bytes)
        size_bytes = await self.run(lambda _: _measure_checked(reader, directory, name))
        if found is not None and not found.is_racy(time_ns()):
            self._checked[directory, name] = found
            if len(self._checked) > _CHECKED_MAX:
                del self._checked[next(iter(self._checked))]
        return _read_pieces(reader, directory, name, size_bytes)

    @asynccontextmanager
    async def whole(self, reader: Reader, directory: str, name: EventName) -> AsyncIterator[RawEvent]:
        """Yield an event with its bytes, which the caller must not keep. Waits while too many are in memory."""
        async with self._whole:
            yield await self.run(lambda _: _read_whole(reader, directory, name))

    async def contains(self, reader: Reader, directory: str, name: EventName, text: str) -> bool:
        """Whether an event is a message that contains a text, which is in small letters."""
        return await self.run(lambda _: _contains(reader, directory, name, text))

    async def work_on(
        self, reader: Reader, directory: str, names: Sequence[EventName], work: Callable[[Iterator[RawEvent]], T]
    ) -> T:
        """Return `work(events)`, called in a thread. Each event is read when it is taken; do not keep its bytes.

        If the files are large together, the call waits until no other has large files in memory.
        """
        sizes = await asyncio.to_thread(event_log.measure, reader, directory, names)
        make = partial(_work, reader, directory, names, work)
        permit = LargeFilePermit()
        return await (asyncio.to_thread(make, permit) if sum(sizes) <= _SMALL_BYTES else self.run(make, permit))

    async def run(self, work: Callable[[LargeFilePermit], T], permit: LargeFilePermit | None = None) -> T:
        """Return `work(permit)`, called in the thread for large files, which has the permit meanwhile.

        If the caller is cancelled, the work does not begin, or ends where it asks the permit for its client.
        """
        permit = permit or LargeFilePermit()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _run_with, permit, work)
        finally:
            permit.leave()


def _run_with(permit: LargeFilePermit, work: Callable[[LargeFilePermit], T]) -> T:
    try:
        permit.take()
        return work(permit)
    finally:
        permit.end()


def _work(
    reader: Reader,
    directory: str,
    names: Sequence[EventName],
    work: Callable[[Iterator[RawEvent]], T],
    permit: LargeFilePermit,
) -> T:
    with closing(event_log.iter_events(reader, directory, names)) as events:
        return work(_iter_for_client(events, permit))


def _iter_for_client(events: Iterator[RawEvent], permit: LargeFilePermit) -> Iterator[RawEvent]:
    """Yield the events until the client leaves. Keeps none of them."""
    while only := [*islice(events, 1)]:
        permit.rest()
        yield only.pop()


def _read_whole(reader: Reader, directory: str, name: EventName) -> RawEvent:
    [event] = event_log.read_events(reader, directory, [name])
    return event


def _measure_checked(reader: Reader, directory: str, name: EventName) -> int:
    event = _read_whole(reader, directory, name)
    if event.unreadable is not None:
        raise EventNotFound(f"event {name.event_id} cannot be served: {event.unreadable}")
    return len(event.raw)


def _contains(reader: Reader, directory: str, name: EventName, text: str) -> bool:
    event = event_log.find_object(reader, directory, name)
    return event is not None and text in message_text(event).lower()


async def _read_pieces(reader: Reader, directory: str, name: EventName, size_bytes: int) -> AsyncGenerator[bytes, None]:
    async with opened_in_thread(partial(event_log.open_event, reader, directory, name, size_bytes)) as descriptor:
        for offset in range(0, size_bytes, _PIECE_BYTES):
            wanted = min(_PIECE_BYTES, size_bytes - offset)
            piece = await asyncio.to_thread(os.pread, descriptor, wanted, offset)
            if len(piece) != wanted:
                raise EventNotFound(f"event {name.event_id} was cut short while it was sent")
            yield piece
