"""HTTP over plain sockets: a client that costs so little that the server is what is measured. Loopback only."""

from __future__ import annotations

import re
import selectors
import socket
from collections.abc import Iterator, Sequence
from itertools import repeat
from time import perf_counter
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"

_TIMEOUT_S = 60.0
_CHUNK = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class RequestError(Exception):
    """The server answered something else than 200."""


class _Answer:
    """How much of one answer has come."""

    __slots__ = ("body_bytes", "head", "left", "tail")

    def __init__(self) -> None:
        self.head = b""
        self.tail: bytes | None = None
        self.body_bytes = 0
        self.left = -1

    def add(self, chunk: bytes) -> bool:
        """Take what was received; return whether the answer is whole."""
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        if self.tail is not None:
            return self._add_chunked(chunk)
        if self.left >= 0:
            self.left -= len(chunk)
            return self.left == 0
        self.head += chunk
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self.head.startswith(b"HTTP/1.1 200 "):
            raise RequestError(self.head.decode(errors="replace")[:500])
        if _CHUNKED.search(self.head, 0, end + 2):
            self.tail = b"\r\n"
            return self._add_chunked(self.head[end + 4 :])
        length = _LENGTH.search(self.head, 0, end + 2)
        if length is None:
            raise RequestError(self.head.decode(errors="replace")[:500])
        self.body_bytes = int(length[1])
        self.left = self.body_bytes - (len(self.head) - end - 4)
        return self.left == 0

    def _add_chunked(self, chunk: bytes) -> bool:
        self.body_bytes += len(chunk)
        self.tail = ((self.tail or b"") + chunk)[-len(_LAST_CHUNK) :]
        return self.tail == _LAST_CHUNK


class Client:
    """One keep-alive connection, made again when the server has closed it for being idle."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((HOST, self._port), timeout=_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def get(self, path: str) -> bytes:
        """Return the body that a GET of `path` answers. One that is sent in chunks has the chunks' lengths in it.

        Raises:
            RequestError: the answer was not 200.
            OSError: the connection failed.
        """
        try:
            return self._get(path)
        except ConnectionError:
            self.socket.close()
            self.socket = self._connect()
            return self._get(path)

    def _get(self, path: str) -> bytes:
        self.send(path)
        answer, chunks = _Answer(), []
        whole = False
        while not whole:
            chunks.append(self.socket.recv(_CHUNK))
            whole = answer.add(chunks[-1])
        raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return raw[len(raw) - answer.body_bytes :]

    def post(self, path: str, body: bytes) -> None:
        """Send a JSON body to `path` and wait for the answer.

        Raises:
            RequestError: the answer was not 200.
            OSError: the connection failed.
        """
        self.send(path, body)
        answer = _Answer()
        while not answer.add(self.socket.recv(_CHUNK)):
            pass

    def send(self, path: str, body: bytes | None = None) -> None:
        """Send a GET, or a POST with a JSON body, without waiting for the answer."""
        method, more = b"GET", b""
        if body is not None:
            method, more = b"POST", b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        host = f"{HOST}:{self._port}".encode()
        head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, path.encode(), host, more)
        self.socket.sendall(head + (body or b""))


def requests_per_second(port: int, paths: Iterator[str], *, connections: int, requests: int) -> float:
    """Return how many answers a second come over `connections` keep-alive connections, each always asking.

    `paths` has no end; each request takes the next one.
    """
    return _measure_rate(port, [paths] * connections, requests)


def posts_per_second(port: int, paths: Sequence[str], body: bytes, *, requests: int) -> float:
    """Return how many answers a second come over one keep-alive connection a path, each always posting `body` to it."""
    return _measure_rate(port, [repeat(path) for path in paths], requests, body)


def _measure_rate(port: int, paths: Sequence[Iterator[str]], requests: int, body: bytes | None = None) -> float:
    clients = [Client(port) for _ in paths]
    answers = {client.socket.fileno(): _Answer() for client in clients}
    left = requests
    try:
        with selectors.DefaultSelector() as selector:
            for client, asked in zip(clients, paths, strict=True):
                selector.register(client.socket, selectors.EVENT_READ, (client, asked))
            began = perf_counter()
            for client, asked in zip(clients, paths, strict=True):
                client.send(next(asked), body)
            while left > 0:
                for key, _ in selector.select(_TIMEOUT_S):
                    client, asked = key.data
                    if answers[key.fd].add(client.socket.recv(_CHUNK)):
                        answers[key.fd] = _Answer()
                        left -= 1
                        client.send(next(asked), body)
            return (requests - left) / (perf_counter() - began)
    finally:
        for client in clients:
            client.socket.close()
