"""The server of a module: convstore, and agent-server beside it where OPENHANDS_PYTHON names one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.conformance.agent_server import needs_agent_server
from tests.conformance.upstream import Upstream, upstream

SERVERS = ["convstore", pytest.param("agent-server", marks=[needs_agent_server, pytest.mark.long])]


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _shared_index: str
) -> Iterator[Upstream]:
    """A server on a directory that the module's function `fill` fills first, if it has one."""
    fill = getattr(request.module, "fill", None)
    with upstream(cast(str, request.param), tmp_path_factory.mktemp("upstream"), fill) as running:
        yield running
