"""The floor of a list page, as a program: a Starlette application that answers the same bytes from memory.

python -m tests.bench.floor PORT NAME=FILE...      GET /NAME answers the bytes of FILE
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.bench.client import HOST


def answer(body: bytes) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers `body`."""

    async def endpoint(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return endpoint


def main() -> None:
    """Serve until stopped."""
    bodies = [argument.partition("=") for argument in sys.argv[2:]]
    routes = [Route(f"/{name}", answer(Path(file).read_bytes())) for name, _, file in bodies]
    uvicorn.run(Starlette(routes=routes), host=HOST, port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
