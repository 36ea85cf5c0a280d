"""MCP servers: the command or URL of each, and its authentication.

Source: the OpenAPI document of openhands-agent-server 1.58.2, and checks of openhands-sdk 1.58.2 that it does not show.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .base import Guest, Strict, Text, as_object


class NoAuth(Guest):
    """No login."""

    strategy: Literal["none"]


class ApiKeyAuth(Guest):
    """A key in a header."""

    strategy: Literal["api_key"]
    value: str | None = None
    header_name: str | None = None


class BearerAuth(Guest):
    """A bearer token."""

    strategy: Literal["bearer"]
    value: str | None = None


class BasicAuth(Guest):
    """A user and a password."""

    strategy: Literal["basic"]
    username: str
    password: str | None = None


class HeaderAuth(Guest):
    """Headers of any name."""

    strategy: Literal["header"]
    headers: dict[str, str] = {}


class OAuthSettings(Strict):
    """Parameters of a request for a token."""

    type: Literal["oauth"]
    client_auth_method: Literal["none", "client_secret_post", "client_secret_basic", "private_key_jwt"] | None = None
    scopes: str | list[str] | None = None
    client_name: str | None = None
    client_metadata_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    additional_client_metadata: dict[str, Any] | None = None


class OAuthTokens(Guest):
    """Tokens that were granted."""

    access_token: str | None = None
    refresh_token: str | None = None


class OAuthClient(Guest):
    """A registered client."""

    client_secret: str | None = None


class OAuthState(Guest):
    """The stored state of a login."""

    tokens: OAuthTokens | None = None
    client_info: OAuthClient | None = None
    token_expires_at: float | None = None


class OAuth(Guest):
    """A login with OAuth 2."""

    strategy: Literal["oauth2"]
    authentication: OAuthSettings | None = None
    state: OAuthState | None = None


Auth = Annotated[NoAuth | ApiKeyAuth | BearerAuth | BasicAuth | HeaderAuth | OAuth, Field(discriminator="strategy")]
_REMOTE = frozenset({"http", "streamable-http", "sse"})


class MCPServer(Strict):
    """An MCP server: a command, or a URL."""

    url: Text | None = None
    transport: Literal["stdio", "http", "streamable-http", "sse"] | None = None
    command: Text | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    cwd: str | None = None
    description: str | None = None
    icon: str | None = None
    timeout: float | None = None
    sse_read_timeout: float | None = None
    keep_alive: bool | None = None
    headers: dict[str, str] | None = None
    auth: Auth | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.transport == "stdio" and self.command is None:
            raise ValueError("an MCP server with the transport stdio needs a command")
        if self.transport in _REMOTE and self.url is None:
            raise ValueError(f"an MCP server with the transport {self.transport} needs a url")
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers or {}):
            raise ValueError("give an MCP server either auth or a header Authorization, not both")
        return self


def read_servers(value: object) -> object:
    """Return MCP servers by name without unknown fields. The object may contain them directly or in `mcpServers`."""
    servers = as_object(value).get("mcpServers", value)
    if not isinstance(servers, dict):
        return {} if servers is None else servers
    known = MCPServer.model_fields
    return {
        name: {key: item for key, item in server.items() if key in known} if isinstance(server, dict) else server
        for name, server in servers.items()
    }
