"""Whether the MCP SDK is installed. It belongs to the extra `convstore[mcp]`."""

from __future__ import annotations

from importlib.util import find_spec

MISSING = "MCP needs the package mcp, which is not installed; run `pip install 'convstore[mcp]'`"


def is_installed() -> bool:
    """Whether the SDK can be imported. Does not import it, which takes most of a second."""
    return find_spec("mcp") is not None
