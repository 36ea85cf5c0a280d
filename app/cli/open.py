"""`convstore open`, and the file by which it finds the server of a store."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.text import Text

from ..api.sessions import make_code
from ..errors import InvalidSettings, StoreUnavailable
from ..settings import Settings
from ..store.store import ConversationStore
from .context import IndexOption, JsonOption, StoreOption, make_settings
from .output import err, out, print_json

log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 3.0
_SERVER = "server.json"


@contextmanager
def announced(settings: Settings, url: str, *, needs_key: bool) -> Iterator[None]:
    """During the block, keep a file beside the index that has the URL of this store's server."""
    path = settings.state_dir / _SERVER
    text = json.dumps({"url": url, "pid": os.getpid(), "needs_key": needs_key})
    try:
        _write_private(path, text)
    except OSError as error:
        log.warning("`convstore open` will not find this server: %s cannot be written (%s)", path, error.strerror)
    try:
        yield
    finally:
        if path.exists() and path.read_text() == text:  # another server of this store may have started since
            path.unlink()


def _write_private(path: Path, text: str) -> None:
    """Write a file atomically that only this user can read."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def login_address(settings: Settings, url: str, path: str, valid_s: float) -> str:
    """Return an address that signs a browser in and works once.

    Raises:
        InvalidSettings: the login code cannot be written into the directory of the index.
    """
    try:
        code = make_code(settings.state_dir, valid_s)
    except OSError as error:
        raise InvalidSettings(
            f"the login code cannot be written to {settings.state_dir} ({error.strerror}); "
            "open the page and sign in with the API key"
        ) from error
    return f"{url}{path}#login={code}"


def open_command(
    conversation_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="A conversation to open.", show_default=False)
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the address instead of opening a browser.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
    index: IndexOption = None,
) -> None:
    """Open the page of a running server in a browser that is signed in. The address works once and for one minute.

    Example: convstore open --store workspace/conversations
    """
    settings = make_settings(store=store, index_url=index)
    url, needs_key = find_server(settings)
    path = f"/c/{asyncio.run(_resolve(settings, conversation_id))}" if conversation_id else "/"
    address = login_address(settings, url, path, 60) if needs_key else f"{url}{path}"
    if json_:
        print_json({"url": address})
    elif print_ or not webbrowser.open(address):
        out.print(Text(address), soft_wrap=True)
    else:
        err.print(f"opened {url}{path}")


async def _resolve(settings: Settings, text: str) -> str:
    async with ConversationStore.open(settings) as store:
        return await store.resolve(text)


def find_server(settings: Settings) -> tuple[str, bool]:
    """Return (the URL of the server of this store, whether it needs a key).

    Raises:
        StoreUnavailable: no server of this store answers.
    """
    try:
        server = json.loads((settings.state_dir / _SERVER).read_text())
        os.kill(int(server["pid"]), 0)  # a server that was killed leaves the file behind
        url, needs_key = str(server["url"]), bool(server["needs_key"])
    except (OSError, ValueError, KeyError, TypeError):
        url = ""
    if not url or not _answers(url):
        raise StoreUnavailable(
            f"no server of {settings.root} answers; start one with `convstore serve {settings.root}`"
        )
    return url, needs_key


def _answers(url: str) -> bool:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/alive")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
