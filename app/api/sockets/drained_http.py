"""HTTP connections of a server that stops: a request that is on its way is still answered."""

from __future__ import annotations

from asyncio import Protocol
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_FIRST_REQUEST_S = 1.0
"""How long a stopping server waits for the first request of a new connection."""


class DrainedHttp(HttpToolsProtocol):
    """A connection that is not closed before its first request.

    uvicorn closes every connection on which no request runs. A client that has just connected, and whose request has
    not arrived yet, would then lose it.
    """

    def shutdown(self) -> None:
        """Close the connection after the running request, or after the first one if none has come yet."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type lacks None
        if cycle is None and not self.transport.is_closing():
            self.loop.call_later(_FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()


def open_socket(**given: Any) -> Protocol:  # noqa: ANN401 - as uvicorn calls it
    """Return the protocol of one WebSocket. The first one imports it, because many servers never have one.

    It is here, and not in a command's module, because each worker imports the module.
    """
    from .drained_socket import DrainedSocket  # noqa: PLC0415

    return DrainedSocket(**given)
