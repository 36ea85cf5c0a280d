"""The MCP server, made with the official SDK: over standard input and output, or over streamable HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from .. import __version__
from ..errors import StoreError
from . import resources
from .answers import Links
from .arguments import explain, make_schema
from .quoting import WARNING
from .scope import Scope
from .tools import TOOLS, Access, Tool

if TYPE_CHECKING:
    from ..store.read.reader import StoreReader

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "convstore has the earlier conversations of coding agents. Before you decide or debug, search them: use "
    "search_messages, then get_events around a hit, or get_outline. All tools only read. Every answer says what it "
    f"left out. {WARNING}"
)

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
FindStore = Callable[[], Awaitable["StoreReader"]]
"""Returns the store, and opens it at the first call, which may raise a StoreError."""

FindBase = Callable[[Any], str]
"""Returns the address of the page for links, from the HTTP request, or from None on standard input."""


def make_server(find_store: FindStore, scope: Scope, find_base: FindBase) -> Server[Any]:
    """Return the MCP server of a store. The handshake and the list of tools do not need the store."""
    handlers = _Handlers(find_store, scope, find_base)
    server = Server[Any](
        "convstore",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=_list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=handlers.read_resource,
    )
    server.add_notification_handler("notifications/initialized", types.NotificationParams, handlers.prepare)
    return server


class _Handlers:
    """Answers the requests that need the store. `context` is the SDK's."""

    def __init__(self, find_store: FindStore, scope: Scope, find_base: FindBase) -> None:
        self._find_store = find_store
        self._scope = scope
        self._find_base = find_base

    async def _access(self, context: Any) -> Access:  # noqa: ANN401 - with a request of any transport
        return Access(await self._find_store(), self._scope, Links(self._find_base(context.request)))

    async def prepare(self, _: object, __: object) -> None:
        """Open the store after the handshake. If that fails, the first call tries again, and says why it fails."""
        with suppress(StoreError):
            await self._find_store()

    async def call_tool(self, context: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        tool = TOOLS.get(asked.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"no tool is called {asked.name[:64]!r}; tools: {', '.join(TOOLS)}")
        try:
            given = tool.arguments.model_validate(asked.arguments or {})
            return _answer(await tool.run(await self._access(context), given))
        except ValidationError as error:
            return _answer(f"{asked.name}: {explain(error)}", failed=True)
        except StoreError as error:
            return _answer(f"{asked.name}: {error}", failed=True)
        except Exception:
            log.exception("the tool %s failed", asked.name)
            return _answer(f"{asked.name}: an unexpected error; see the log of the server", failed=True)

    async def list_resources(self, context: object, _: object) -> types.ListResourcesResult:
        try:
            listed = await resources.list_recent(await self._access(context))
        except StoreError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error
        return types.ListResourcesResult(
            resources=[types.Resource(mime_type=resources.MARKDOWN, **one._asdict()) for one in listed]
        )

    async def read_resource(self, context: object, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(asked.uri)
        if not uri.startswith(resources.SCHEME):
            raise MCPError(types.INVALID_PARAMS, f"resources of this server are called {resources.SCHEME}ID")
        try:
            text = await resources.read_conversation(await self._access(context), uri)
        except StoreError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        content = types.TextResourceContents(uri=asked.uri, mime_type=resources.MARKDOWN, text=text)
        return types.ReadResourceResult(contents=[content])


async def _list_tools(_: object, __: object) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[_describe(name, tool) for name, tool in TOOLS.items()])


async def _list_templates(_: object, __: object) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=f"{resources.SCHEME}{{id}}",
        name="conversation",
        description="One conversation as quoted Markdown, by its id.",
        mime_type=resources.MARKDOWN,
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def serve_stdio(server: Server[Any]) -> None:
    """Serve on standard input and output, until the input ends."""
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


@asynccontextmanager
async def open_http(server: Server[Any]) -> AsyncIterator[ASGIApp]:
    """Yield the application that answers HTTP requests. It keeps no session, so any worker can answer any request.

    The caller must check the Host and Origin headers: the SDK's own check knows only fixed names.
    """
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True, security_settings=unchecked)
    async with manager.run():
        yield manager.handle_request


def _describe(name: str, tool: Tool) -> types.Tool:
    return types.Tool(
        name=name,
        description=tool.description,
        input_schema=make_schema(tool.arguments),
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _answer(text: str, *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)
