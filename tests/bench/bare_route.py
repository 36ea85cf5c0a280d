"""The floor of an append over HTTP, as a program: an ASGI application that does an append's calls and one insert.

python -m tests.bench.bare_route PORT DIRECTORY NUMBER      POST /0 appends the body to the first of NUMBER logs
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.index.sqlite.write_connection import on_connect
from tests.bench.bare import bare_files
from tests.bench.client import HOST

_ANSWER = b'{"success":true}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]


def make_application(directory: Path, number: int) -> ASGIApp:
    """Return an application that appends to `number` logs under `directory`, each request in a thread."""
    insert = _make_insert(directory / "index.db")
    appends = [bare_files(directory / f"log-{one}") for one in range(number)]
    threads = ThreadPoolExecutor(number)

    def append(log: int, body: bytes) -> None:
        insert(appends[log](body), body)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
            await asyncio.get_running_loop().run_in_executor(threads, append, int(scope["path"][1:]), body)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})

    return application


def _make_insert(path: Path) -> Callable[[str, bytes], None]:
    database = sqlite3.connect(path, check_same_thread=False)
    on_connect(database, None)
    database.execute("CREATE TABLE event (id TEXT PRIMARY KEY, body BLOB)")
    lock = Lock()

    def insert(event_id: str, body: bytes) -> None:
        with lock:
            database.execute("INSERT INTO event VALUES (?, ?)", (event_id, body))

    return insert


def main() -> None:
    """Serve until stopped."""
    application = make_application(Path(sys.argv[2]), int(sys.argv[3]))
    uvicorn.run(application, host=HOST, port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
