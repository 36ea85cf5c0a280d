"""The floor of reads over HTTP, as a program: an ASGI application that does the necessary work of an answer alone.

python -m tests.bench.bare_reads PORT INDEX NAME=FILE...     GET /sql runs a page's SQL and joins the bodies;
                                                             GET /NAME reads the files that FILE lists, and joins them
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.index.conversation_list import ListShape, ordered_sql
from app.model.page import SortOrder
from tests.bench.client import HOST

PAGE = 20
PAGE_SHAPE = ListShape(SortOrder.UPDATED_AT_DESC, ("archived 0",))


def query_page(connection: sqlite3.Connection) -> Callable[[], list[tuple[object, ...]]]:
    """Return a call that runs the SQL of a page of the list."""
    sql = ordered_sql(PAGE_SHAPE)
    bound = sql.bind({"row_limit": PAGE + 1})
    return lambda: connection.execute(sql.text, bound).fetchall()


def join_files(paths: Sequence[str]) -> bytes:
    """Read files and nothing else."""
    bodies = []
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            bodies.append(os.read(descriptor, os.fstat(descriptor).st_size))
        finally:
            os.close(descriptor)
    return b",".join(bodies)


def make_application(index: str, lists: Mapping[str, Sequence[str]]) -> ASGIApp:
    """Return an application that answers from the index and from the files in `lists`."""
    query = query_page(sqlite3.connect(f"file:{index}?mode=ro", uri=True, isolation_level=None))
    works: dict[str, Callable[[], bytes]] = {f"/{name}": partial(join_files, paths) for name, paths in lists.items()}
    works["/sql"] = lambda: b",".join([value for row in query()[:PAGE] for value in row if isinstance(value, bytes)])

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        body = works[scope["path"]]()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application


def main() -> None:
    """Serve until stopped."""
    named = [argument.partition("=") for argument in sys.argv[3:]]
    application = make_application(sys.argv[2], {name: Path(file).read_text().splitlines() for name, _, file in named})
    uvicorn.run(application, host=HOST, port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
