"""A real agent-server 1.58 on a directory, where OPENHANDS_PYTHON names a Python that has one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.deploy.recipes import free_port, wait_for

KEY = {"X-Session-API-Key": "the-key"}

needs_agent_server = pytest.mark.skipif(
    "OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-agent-server was given"
)


class AgentServer(NamedTuple):
    """A running agent-server, and a client of it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client


@contextmanager
def agent_server(store: Path, **environment: str) -> Iterator[AgentServer]:
    """Run one on a conversations directory; it is killed at the end."""
    port = free_port()
    set_up = {
        "OH_CONVERSATIONS_PATH": str(store),
        "SESSION_API_KEY": "the-key",
        "OH_SECRET_KEY": "a-secret",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",  # it would try for 17 s to get prices from the internet
    }
    command = [os.environ["OPENHANDS_PYTHON"], "-m", "openhands.agent_server", "--host", "127.0.0.1"]
    with (
        subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=store.parent,
            env=os.environ | set_up | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=60) as client,
    ):
        try:
            wait_for(port)
            yield AgentServer(process, client)
        finally:
            process.kill()
