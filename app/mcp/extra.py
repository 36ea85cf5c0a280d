"""Whether the MCP SDK is installed, and how a command imports it. It belongs to the extra `convstore[mcp]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pydantic import BaseModel

MISSING = "MCP needs the package mcp, which is not installed; run `pip install 'convstore[mcp]'`"

_PROPAGATORS = "OTEL_PROPAGATORS"


def is_installed() -> bool:
    """Whether the SDK can be imported. Does not import it, which takes most of a second."""
    return find_spec("mcp") is not None


@contextmanager
def importing_quickly() -> Iterator[None]:
    """Import the SDK within this context in four fifths of the time. Only for a process with one thread.

    pydantic builds the validators of a model at its first use: the SDK has 560, and a session uses few.
    OpenTelemetry does not search all installed packages for propagators of traces, because no trace is made.
    """
    told = os.environ.get(_PROPAGATORS)
    os.environ.setdefault(_PROPAGATORS, "none")
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
        if told is None:
            del os.environ[_PROPAGATORS]
