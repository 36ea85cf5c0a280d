"""`convstore mcp`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Annotated

import typer

from .. import logs
from ..errors import InvalidSettings
from ..mcp import extra
from ..mcp.scope import Scope
from ..settings import Settings
from ..store.context import require_store
from ..store.follow.background import run_background
from ..store.store import ConversationStore
from .context import DirArgument, IndexOption, SameStoreOption, choose_store, make_settings
from .entry import without_collector
from .open import list_servers

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
    """Open the store, answer requests until the input ends, and keep the index in step meanwhile."""
    with without_collector(), extra.importing_quickly():
        from ..mcp.server import make_server, serve_stdio  # noqa: PLC0415

    def find_base(_: object) -> str:
        """Return the address of the page, if a server of this store runs."""
        servers = list_servers(settings)
        return servers[0][0] if servers else ""

    async with ConversationStore.open(settings) as store:
        following = asyncio.create_task(run_background(store, tidy=False))
        try:
            await serve_stdio(make_server(store, scope, find_base))
        finally:
            following.cancel()
            await asyncio.wait([following])
