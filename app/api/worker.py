"""One of several processes that serve one store, as `convstore serve --workers N` spawns them."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import connection, parent_process

from fastapi import FastAPI

from app import logs
from app.api.app import create_app
from app.settings import Settings


def create_worker() -> FastAPI:
    """Return the application of a worker, whose settings are all in the environment."""
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    _stop_with_parent()
    return create_app(settings, ends_process=True)


def _stop_with_parent() -> None:
    """Stop serving when the parent ends, however that ends, so that no worker is left with the socket."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_stop, args=(parent.sentinel,), daemon=True).start()


def _wait_and_stop(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
