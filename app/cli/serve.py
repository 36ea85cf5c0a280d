"""`convstore serve`."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from .. import logs
from ..errors import IndexUnusable, InvalidSettings, StoreUnavailable
from ..files import liveness
from ..processes import return_large_blocks
from ..settings import Settings
from ..store.store import ConversationStore
from .entry import without_collector
from .open import announced, login_address
from .options import DirArgument, IndexOption, SameStoreOption, choose_store, make_settings
from .output import err

log = logging.getLogger(__name__)

_WORKER_SILENT_S = 30
_BACKLOG = 2048
_FIRST_PASSED = 3
"""systemd's first passed descriptor (SD_LISTEN_FDS_START)."""
_LOGIN_VALID_S = 600
_KEY_HEADER = "X-Session-API-Key"
_FRAME_MAX_BYTES = 16 << 20
"""The largest frame that a socket accepts, as in agent-server. A message may contain images."""


def serve_command(
    directory: DirArgument = None,
    store: SameStoreOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 takes a free one.", show_default="8000")
    ] = None,
    index: IndexOption = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="The file with the API key.", show_default="api-key beside the index")
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Require no key. Only on a loopback address.")] = False,
    uds: Annotated[
        Path | None, typer.Option(help="A Unix socket to listen on, instead of host and port.", show_default=False)
    ] = None,
    fd: Annotated[
        int | None, typer.Option(help="A listening socket that the parent process opened.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="The number of server processes, which share one socket.", show_default="1")
    ] = None,
) -> None:
    """Serve a conversations directory over HTTP, compatible with agent-server's clients.

    Example: convstore serve workspace/conversations --port 8000
    """
    settings = make_settings(
        store=choose_store(directory, store),
        index_url=index,
        host=host,
        port=port,
        api_key_file=api_key_file,
        no_auth=no_auth or None,
        uds=uds,
        fd=fd,
        workers=workers,
    )
    settings.instance = liveness.make_instance_id(
        settings.instance
    )  # one name for all workers, different from that of a crashed instance
    with without_collector():
        import uvicorn  # noqa: PLC0415 - HTTP takes 0.4 s to import, which no other command needs

        from ..api.access.key_files import load_keys  # noqa: PLC0415
        from ..api.app import create_app  # noqa: PLC0415
        from ..api.process import ignore_sudden_signals  # noqa: PLC0415

    return_large_blocks()
    ignore_sudden_signals()
    logs.configure(settings.log_level, settings.log_format, settings.audit_file)
    asyncio.run(_require_usable(settings))
    keys, made = load_keys(settings)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        url = _url(settings, listener)
        _greet(settings, url, keys, made=made)
        if listener.family != socket.AF_UNIX:  # `convstore open` needs an address that a browser can use
            stack.enter_context(announced(settings, url, needs_key=bool(keys)))
        if settings.workers > 1:
            _serve_by_workers(settings, listener)
            return
        server = uvicorn.Server(uvicorn.Config(create_app(settings, keys, ends_process=True), **options(settings)))
        try:
            server.run(sockets=[listener])
        except SystemExit:  # uvicorn could not start
            if server.started:
                raise
        _require_started(server.started)


def _require_started(started: bool) -> None:
    if not started:
        raise StoreUnavailable("the server could not start; see the log for the reason")


def _serve_by_workers(settings: Settings, listener: socket.socket) -> None:
    """Serve with spawned processes that share the socket. A process that dies is replaced."""
    import uvicorn  # noqa: PLC0415

    from ..api.app import create_worker  # noqa: PLC0415
    from ..api.process import Supervisor, reload_log_level  # noqa: PLC0415

    with TemporaryDirectory(prefix="convstore-metrics-") as counted:
        os.environ |= settings.as_environment() | {"PROMETHEUS_MULTIPROC_DIR": counted}
        config = uvicorn.Config(
            create_worker,
            factory=True,
            workers=settings.workers,
            timeout_worker_healthcheck=_WORKER_SILENT_S,
            **options(settings),
        )
        supervisor = Supervisor(config, [listener], partial(reload_log_level, settings))
        supervisor.run()
    _require_started(not supervisor.failed)


def options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for a single server or for each of several workers."""
    from ..api.sockets.drained_http import DrainedHttp, open_socket  # noqa: PLC0415

    return {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # uvicorn would trust every peer of this machine; see `ForwardedMiddleware`
        "http": DrainedHttp,
        "timeout_keep_alive": settings.keep_alive_s,
        "ws": open_socket,
        "ws_max_size": _FRAME_MAX_BYTES,
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_timeout_s),
    }


async def _require_usable(settings: Settings) -> None:
    """Open and close the store, so that its errors are printed before the server listens.

    While the server of the index is away, convstore serves anyway, and uses it when it is back. A server that refuses
    the password, the database or the user ends it here; one that refuses them later is waited for.
    """
    try:
        async with ConversationStore.open(settings):
            pass
    except IndexUnusable as error:
        if error.refused or not error.away:
            raise


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens on the host and port of the settings.

    With `uds` it listens on that Unix socket. With `fd`, or if systemd passed a socket (LISTEN_FDS), it is that one.

    Raises:
        InvalidSettings: the address is in use, forbidden or unknown, or the descriptor is no listening socket.
    """
    inherited = settings.fd if settings.fd is not None else _find_passed()
    if inherited is not None:
        return _adopt(settings, inherited)
    if settings.uds is not None:
        return _listen_on_path(settings.uds)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        told = str(error.strerror).partition(" (while ")[0]
        what = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        raise InvalidSettings(
            f"cannot listen on {settings.host} port {settings.port} ({told}); choose another with --{what}"
        ) from error


def _find_passed() -> int | None:
    """Return the socket that systemd passed to this process, as in sd_listen_fds(3), or None."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    number = os.environ.get("LISTEN_FDS", "")
    if number != "1":
        raise InvalidSettings(f"systemd passed {number or 'no'} sockets; use one ListenStream= in the socket unit")
    return _FIRST_PASSED


def _adopt(settings: Settings, descriptor: int) -> socket.socket:
    """Return a socket that another process opened. Closing it does not close the other process's socket."""
    reason = "it does not listen"
    try:
        adopted = socket.socket(fileno=os.dup(descriptor))
        listens = bool(adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        listens, reason = False, str(error.strerror)
    if not listens:
        raise InvalidSettings(
            f"descriptor {descriptor} is not a listening socket ({reason}); check --fd or the socket unit"
        )
    if settings.no_auth and adopted.family != socket.AF_UNIX and not ip_address(adopted.getsockname()[0]).is_loopback:
        adopted.close()
        raise InvalidSettings("--no-auth works only on a loopback address; omit it, or pass a socket of 127.0.0.1")
    return adopted


def _listen_on_path(path: Path) -> socket.socket:
    """Return a listening Unix socket that its owner and group may use. A socket that nobody serves is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if path.is_socket() and probe.connect_ex(str(path)) == 0:
            raise InvalidSettings(f"cannot listen on {path} (another server listens there); choose another with --uds")
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        told = error.strerror or error
        raise InvalidSettings(f"cannot listen on {path} ({told}); choose another with --uds") from error
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    """Return the address at which a browser on this machine reaches the page, or `unix:PATH`."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name) or settings.uds}"
    given, port = (name[0], name[1]) if settings.fd is not None or _find_passed() else (settings.host, name[1])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given, given)  # noqa: S104
    return f"http://[{host}]:{port}{settings.base_path}" if ":" in host else f"http://{host}:{port}{settings.base_path}"


def _greet(settings: Settings, url: str, keys: list[str], *, made: bool) -> None:
    """Print the sign-in address, the key and an example. In a JSON log, print one line without secrets."""
    if not logs.is_plain(settings.log_format):
        where = "in CONVSTORE_API_KEY" if settings.api_key else f"in {settings.key_path}" if keys else "not asked for"
        log.info(
            "convstore serves %s at %s; the key is %s; `convstore open --print` makes an address that signs in",
            settings.shown_root,
            url,
            where,
        )
        return
    if url.startswith("unix:"):
        err.print(f"convstore serves {settings.shown_root} at {url}")
        return
    page = login_address(settings, url, "/", _LOGIN_VALID_S) if keys else f"{url}/"
    lines = [f"convstore serves {settings.shown_root}", f"  open  {page}"]
    if keys:
        lines.append("        signs in once, within 10 minutes; `convstore open` makes another")
    lines.append(f"  docs  {url}/docs")
    header = ""
    if made:
        lines += [f"  key   {keys[0]}", f"        shown this once; kept in {settings.key_path}"]
    elif keys and not settings.api_key:
        lines.append(f"  key   in {settings.key_path}")
    if keys:
        source = "$CONVSTORE_API_KEY" if settings.api_key else f"$(cat {settings.key_path})"
        header = f'-H "{_KEY_HEADER}: {source}" '
    lines.append(f"  try   curl {header}'{url}/api/conversations/search?limit=5&sort_order=UPDATED_AT_DESC'")
    for line in lines:
        err.print(line)
