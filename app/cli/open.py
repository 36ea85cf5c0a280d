"""`convstore open`, and the files by which it finds the servers of a store."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated
from urllib.parse import urlsplit

import typer

from ..api.sessions import make_code
from ..errors import InvalidSettings, StoreUnavailable
from ..locks import SHARED, lock_file, try_lock
from ..settings import Settings
from ..store.store import ConversationStore
from .options import IndexOption, JsonOption, StoreOption, make_settings
from .output import err, out, print_json

log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 3.0
_LOCK_WITHIN_S = 5.0
_SERVERS = "servers"


@contextmanager
def announced(settings: Settings, url: str, *, needs_key: bool) -> Iterator[None]:
    """During the block, keep a locked file beside the index that has the URL of this server.

    The lock ends with the process, so a file without a lock is that of a server that was killed.
    """
    path = settings.state_dir / _SERVERS / f"{settings.instance}.json"
    list_servers(settings)  # also deletes the files of dead ones
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = lock_file(path, timeout_s=_LOCK_WITHIN_S)
        if descriptor is not None:
            os.write(descriptor, json.dumps({"url": url, "needs_key": needs_key}).encode())
    except OSError as error:
        log.warning("`convstore open` will not find this server: %s cannot be written (%s)", path, error.strerror)
        descriptor = None
    try:
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


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
        out.print(address)
    else:
        err.print(f"opened {url}{path}")


async def _resolve(settings: Settings, text: str) -> str:
    async with ConversationStore.open(settings) as store:
        found = await store.resolve(text)
        await store.get_conversation(found)  # a complete id may be unknown, too
        return found


def find_server(settings: Settings) -> tuple[str, bool]:
    """Return (the URL of the server of this store, whether it needs a key).

    Raises:
        StoreUnavailable: no server of this store answers.
    """
    for url, needs_key in list_servers(settings):
        if _answers(url):
            return url, needs_key
    raise StoreUnavailable(f"no server of {settings.root} answers; start one with `convstore serve {settings.root}`")


def list_servers(settings: Settings) -> list[tuple[str, bool]]:
    """Return (its URL, whether it needs a key) of each living server of this store, the last that started first.

    Deletes the files of dead servers.
    """
    found = []
    for path in (settings.state_dir / _SERVERS).glob("*.json"):
        with suppress(OSError), path.open("r+b") as file:
            if try_lock(file.fileno(), SHARED):
                path.unlink()
                continue
            with suppress(ValueError, KeyError, TypeError):
                server = json.loads(file.read())
                found.append((path.stat().st_mtime_ns, str(server["url"]), bool(server["needs_key"])))
    return [(url, needs_key) for _, url, needs_key in sorted(found, reverse=True)]


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
