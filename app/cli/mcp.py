"""`convstore mcp`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from .. import logs
from ..errors import InvalidSettings
from ..mcp import extra
from ..mcp.scope import Scope
from ..settings import Settings
from ..store.existence import require_store
from .entry import without_collector
from .options import DirArgument, IndexOption, SameStoreOption, choose_store, make_settings

if TYPE_CHECKING:
    from ..store.store import ConversationStore

_match_windows = re.compile(r"[A-Za-z]:[\\/]|\\\\").match


def mcp_command(
    directory: DirArgument = None,
    store: SameStoreOption = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Show only conversations with this working directory or one below it.",
            show_default="all",
        ),
    ] = None,
    index: IndexOption = None,
) -> None:
    """Let an agent search and read the conversations: an MCP server on standard input and output. It only reads.

    Example: convstore mcp workspace/conversations --workspace ~/project
    """
    settings = make_settings(store=choose_store(directory, store), index_url=index)
    require_store(settings)
    if not extra.is_installed():
        raise InvalidSettings(extra.MISSING)
    logs.configure(settings.log_level, settings.log_format)
    # The SDK reads standard input in a thread that cannot be cancelled, so Ctrl-C would not end it. Nothing is lost:
    # no conversation is written, and writes of the index are transactions.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve(settings, Scope(None if workspace is None else _absolute(workspace))))


def _absolute(directory: str) -> str:
    """Return a directory as conversations name it. It may be one of another machine."""
    if _match_windows(directory):
        return directory
    return os.path.abspath(Path(directory).expanduser())  # noqa: PTH100 - resolve() would follow links


async def _serve(settings: Settings, scope: Scope) -> None:
    """Answer requests until the input ends. The store is imported and opened after the handshake."""
    with without_collector(), extra.importing_quickly():
        from ..mcp.server import make_server, serve_stdio  # noqa: PLC0415

    def find_base(_: object) -> str:
        """Return the address of the page, if a server of this store runs."""
        from .open import list_servers  # noqa: PLC0415 - it imports the store

        servers = list_servers(settings)
        return servers[0][0] if servers else ""

    async with _Opening(settings) as opening:
        await serve_stdio(make_server(opening.find_store, scope, find_base))


class _Opening:
    """Opens the store when it is first needed, keeps its index in step from then on, and closes it at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._opened = AsyncExitStack()
        self._store: ConversationStore | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def find_store(self) -> ConversationStore:
        """Return the store. Raises the errors of `ConversationStore.open`; the next call tries again."""
        async with self._turn:
            if self._store is None:
                self._store = await self._open()
            return self._store

    async def _open(self) -> ConversationStore:
        with without_collector():
            from ..store.follow.background import run_background  # noqa: PLC0415 - half a second with the next one
            from ..store.store import ConversationStore  # noqa: PLC0415

        store = await self._opened.enter_async_context(ConversationStore.open(self._settings))
        following = asyncio.create_task(run_background(store, tidy=False))

        async def stop() -> None:
            following.cancel()
            await asyncio.wait([following])

        self._opened.push_async_callback(stop)
        return store
