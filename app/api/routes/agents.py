"""Routes of agent-server 1.58 for things that convstore does not have: agents, machines, settings, profiles, plugins.

Clients send these requests at their start, and show an error unless they succeed. So a GET answers the empty value of
its schema, or 404 if it names one thing. A request that needs an agent answers 501, with its own reason.
docs/compatibility.md lists every route.

These are plain routes of Starlette: 140 routes of FastAPI would take 0.1 s of every start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, cast
from uuid import uuid4

import orjson
from fastapi import APIRouter, Query, Request, Response, WebSocket
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from ...errors import InvalidId, NeedsAgent
from ...model.ids import parse_conversation_id
from ...store.read.reader import StoreReader
from ..responses import json_response
from ..sockets.conversation_socket import authenticate, send_text

Endpoint = Callable[[Request], Awaitable[Response]]

_OF_CONVERSATIONS = "/api/conversations/{conversation_id}"


def needs_agent(what: str, instead: str = "use an agent-server") -> NeedsAgent:
    """Return the error for a request that needs an agent: `what` convstore cannot do, and what to do `instead`."""
    return NeedsAgent(f"convstore keeps conversations and runs no agents, so it cannot {what}; {instead}")


_ON_CONVERSATIONS = {
    "run": "run this conversation",
    "pause": "pause a run",
    "interrupt": "interrupt a run",
    "goal": "work towards a goal",
    "goal/stop": "stop working towards a goal",
    "goal/resume": "go on working towards a goal",
    "secrets": "give secrets to an agent",
    "confirmation_policy": "change the confirmation policy of an agent",
    "security_analyzer": "change the security analyzer of an agent",
    "switch_profile": "switch the profile of an agent",
    "switch_llm": "switch the model of an agent",
    "load_plugin": "load a plugin into an agent",
    "switch_acp_model": "switch the model of an agent",
    "ask_agent": "ask an agent a question",
    "condense": "have an agent condense this conversation",
    "children": "start a child conversation",
    "generate_title": "have a model find a title",
    "events/respond_to_confirmation": "pass an answer on to an agent that waits for it",
}
"""The POST routes below the path of a conversation, and their actions, for the error."""

_OF_THE_MACHINE: dict[str, object] = {
    "bash/bash_events/": [],
    "bash/bash_events/search": {"items": [], "next_page_id": None},
    "git/changes": [],
    "git/commits": {"commits": [], "has_more": False},
    "git/commits/{sha}/changes": [],
    "git/diff": {"modified": None, "original": None},
    "vscode/status": {"running": False, "enabled": False},
    "vscode/url": {"url": None},
}
"""GETs below /api/ and below the path of a conversation, and their empty values."""

_ON_THE_MACHINE = {
    "POST bash/execute_bash_command": "run a command",
    "POST bash/start_bash_command": "start a command",
    "POST bash/bash_commands/{command_id}/stop": "stop a command",
    "DELETE bash/bash_events": "clear the events of commands",
    "GET file/archive": "pack a directory of a workspace",
    "GET file/download": "send a file of a workspace",
    "POST file/upload": "take a file into a workspace",
    "POST file/create_directory": "make a directory in a workspace",
}
"""Requests below /api/ and below the path of a conversation, and their actions, for the error."""

_EMPTY: dict[str, object] = {
    "GET /api/agent-profiles": {"profiles": [], "active_agent_profile_id": None},
    "GET /api/canvas-extensions/installed": {"canvas_extensions": []},
    "GET /api/file/home": {"home": "/", "favorites": [], "locations": []},
    "GET /api/file/search_subdirs": {"items": [], "next_page_id": None},
    "GET /api/git/repositories/search": {"items": [], "next_page_id": None, "missing_token": False},
    "GET /api/llm/models": {"models": []},
    "GET /api/llm/models/verified": {"models": {}},
    "GET /api/llm/provider-connections": [],
    "GET /api/llm/providers": {"providers": []},
    "GET /api/llm/subscription/openai/models": {"vendor": "openai", "models": []},
    "GET /api/llm/subscription/openai/status": {
        "vendor": "openai",
        "connected": False,
        "account_email": None,
        "expires_at": None,
    },
    "GET /api/meta-profiles": {"meta_profiles": [], "active_meta_profile": None},
    "GET /api/plugins/installed": {"plugins": []},
    "GET /api/plugins/marketplace": {"plugins": []},
    "GET /api/profiles": {"profiles": [], "active_profile": None},
    "GET /api/settings": {
        # agent-canvas sends no message to a server without a model, unless agents bring their own, as those of ACP do
        "agent_settings": {"agent_kind": "acp"},
        "conversation_settings": {},
        "llm_api_key_is_set": False,
        # agent-canvas asks for consent on every page until it has an answer
        "misc_settings": {"app_preferences": {"user_consents_to_analytics": False}},
    },
    "GET /api/settings/agent-schema": {"model_name": "AgentSettings", "sections": []},
    "GET /api/settings/conversation-schema": {"model_name": "ConversationSettings", "sections": []},
    "GET /api/settings/secrets": {"secrets": []},
    "GET /api/skills/catalog": {"skills": []},
    "GET /api/skills/installed": {"skills": []},
    "GET /api/skills/marketplace": {"skills": []},
    "GET /api/tools/": [],
    "GET /api/tools/catalog": {"tools": []},
    "GET /api/workspaces": {"workspaces": [], "workspaceParents": []},
    "GET /v1/models": {"object": "list", "data": []},
    "POST /api/hooks": {"hook_config": None},
    "POST /api/plugins": {"plugins": []},
    "POST /api/skills": {"skills": [], "sources": {}},
    "POST /api/sub-agents": {"agents": []},
}
"""Requests that only read, and their empty values. agent-server reads skills, plugins and the like by POST."""

_WITHOUT_EFFECT = ("POST /api/auth/workspace-session", "DELETE /api/auth/workspace-session")
"""Requests for a cookie that opens the files of a workspace. agent-canvas sends them on every page."""

_NAMED = {
    "/api/agent-profiles/{name}": "profile of an agent",
    "/api/canvas-extensions/installed/{name}": "extension of agent-canvas",
    "/api/canvas-extensions/installed/{name}/backend": "extension of agent-canvas",
    "/api/canvas-extensions/installed/{name}/backend/logs": "extension of agent-canvas",
    "/api/canvas-extensions/installed/{name}/bundle": "extension of agent-canvas",
    "/api/canvas-extensions/installed/{name}/icon": "extension of agent-canvas",
    "/api/bash/bash_events/{name}": "event of a command",
    "/api/conversations/{conversation_id}/bash/bash_events/{name}": "event of a command",
    "/api/conversations/{conversation_id}/workspace": "workspace",
    "/api/conversations/{conversation_id}/workspace/{name:path}": "file of a workspace",
    "/api/init": "initialization",
    "/api/mcp/oauth/status/{name}": "login to an MCP server",
    "/api/meta-profiles/{name}": "profile of profiles",
    "/api/plugins/installed/{name}": "plugin",
    "/api/profiles/{name}": "profile of a model",
    "/api/settings/secrets/{name}": "secret",
    "/api/skills/installed/{name}": "skill",
}
"""GETs of one named thing, and its kind. They answer 404, because convstore has none."""

_ACTIONS = {
    "POST /api/acp/models": "ask an ACP agent for its models",
    "POST /api/agent-profiles/{name}": "keep profiles of agents",
    "DELETE /api/agent-profiles/{name}": "delete profiles of agents",
    "POST /api/agent-profiles/{name}/materialize": "make an agent of a profile",
    "POST /api/agent-profiles/{name}/rename": "rename profiles of agents",
    "POST /api/agent-profiles/{name}/activate": "activate profiles of agents",
    "POST /api/canvas-extensions/install": "install extensions of agent-canvas",
    "PATCH /api/canvas-extensions/installed/{name}": "switch extensions of agent-canvas on or off",
    "DELETE /api/canvas-extensions/installed/{name}": "remove extensions of agent-canvas",
    "DELETE /api/canvas-extensions/installed/{name}/backend/data": "delete data of extensions",
    "POST /api/canvas-extensions/installed/{name}/backend/prepare": "prepare the backend of an extension",
    "POST /api/canvas-extensions/installed/{name}/backend/start": "start the backend of an extension",
    "POST /api/canvas-extensions/installed/{name}/backend/stop": "stop the backend of an extension",
    "POST /app-backends/{name}/session": "open the backend of an extension",
    "DELETE /app-backends/{name}/session": "close the backend of an extension",
    "POST /api/init": "be initialized again",
    "POST /api/llm/provider-connections": "connect to a provider of models",
    "PATCH /api/llm/provider-connections/{name}": "change connections to providers of models",
    "DELETE /api/llm/provider-connections/{name}": "delete connections to providers of models",
    "POST /api/llm/subscription/openai/device/poll": "log in to a subscription of models",
    "POST /api/llm/subscription/openai/device/start": "begin to log in to a subscription of models",
    "POST /api/llm/subscription/openai/logout": "log out of a subscription of models",
    "POST /api/mcp/oauth/callback/{name}": "finish a login to an MCP server",
    "POST /api/mcp/oauth/start": "begin a login to an MCP server",
    "POST /api/mcp/test": "test an MCP server",
    "POST /api/meta-profiles/{name}": "keep profiles of profiles",
    "DELETE /api/meta-profiles/{name}": "delete profiles of profiles",
    "POST /api/meta-profiles/{name}/activate": "activate profiles of profiles",
    "POST /api/plugins/fetch": "fetch plugins",
    "POST /api/plugins/install": "install plugins",
    "PATCH /api/plugins/installed/{name}": "switch plugins on or off",
    "DELETE /api/plugins/installed/{name}": "remove plugins",
    "POST /api/plugins/installed/{name}/refresh": "refresh plugins",
    "POST /api/profiles/{name}": "keep profiles of models",
    "DELETE /api/profiles/{name}": "delete profiles of models",
    "POST /api/profiles/{name}/activate": "activate profiles of models",
    "POST /api/profiles/{name}/rename": "rename profiles of models",
    "POST /api/profiles/{name}/validate": "try a model",
    "PATCH /api/settings": "keep settings of agents",
    "POST /api/settings/mcp/{name}": "keep settings of MCP servers",
    "PATCH /api/settings/mcp/{name}": "change settings of MCP servers",
    "DELETE /api/settings/mcp/{name}": "delete settings of MCP servers",
    "PUT /api/settings/secrets": "keep secrets for agents",
    "DELETE /api/settings/secrets/{name}": "delete secrets for agents",
    "POST /api/skills/install": "install skills",
    "PATCH /api/skills/installed/{name}": "switch skills on or off",
    "DELETE /api/skills/installed/{name}": "remove skills",
    "POST /api/skills/installed/{name}/refresh": "refresh skills",
    "POST /api/skills/sync": "fetch skills",
    "POST /api/workspaces": "keep a list of workspaces",
    "DELETE /api/workspaces": "take workspaces off a list",
    "POST /api/workspaces/parents": "keep a list of directories with workspaces",
    "DELETE /api/workspaces/parents": "take directories off a list",
    "POST /v1/chat/completions": "answer as a model",
    "POST /v1/responses": "answer as a model",
}
"""Requests that change things that convstore does not have, and their actions, for the error."""


def _empty(value: object) -> Endpoint:
    body = orjson.dumps(value)

    async def answer(request: Request) -> Response:
        await _require_conversation(request)
        return json_response(body)

    return answer


async def _do_nothing(_request: Request) -> Response:
    return Response(status_code=204)


def _refuse(what: str) -> Endpoint:
    async def refuse(request: Request) -> Response:
        await _require_conversation(request)
        raise needs_agent(what)

    return refuse


def _find_none(what: str) -> Endpoint:
    async def find_none(request: Request) -> Response:
        await _require_conversation(request)
        name = request.path_params.get("name")
        raise HTTPException(
            404, f"there is no {what} here{f': {name[:100]}' if name else ''}; an agent-server has these"
        )

    return find_none


async def _require_conversation(request: Request) -> None:
    """Answer 404 if the path names a conversation that does not exist, as agent-server does.

    Raises:
        ConversationNotFound: no conversation has this id.
        HTTPException: the path has no valid id.
    """
    given = request.path_params.get("conversation_id")
    if given is None:
        return
    try:
        one = parse_conversation_id(given)
    except InvalidId as error:
        raise HTTPException(422, str(error)) from error
    await cast(StoreReader, request.app.state.store).get_conversation(one)


def _routes() -> list[BaseRoute]:
    requests: dict[str, Endpoint] = {name: _empty(value) for name, value in _EMPTY.items()}
    requests |= dict.fromkeys(_WITHOUT_EFFECT, _do_nothing)
    requests |= {name: _refuse(what) for name, what in _ACTIONS.items()}
    requests |= {f"POST {_OF_CONVERSATIONS}/{name}": _refuse(what) for name, what in _ON_CONVERSATIONS.items()}
    for prefix in ("/api", _OF_CONVERSATIONS):
        requests |= {f"GET {prefix}/{path}": _empty(value) for path, value in _OF_THE_MACHINE.items()}
        for name, what in _ON_THE_MACHINE.items():
            method, path = name.split()
            requests[f"{method} {prefix}/{path}"] = _refuse(what)
    requests |= {f"GET {path}": _find_none(what) for path, what in _NAMED.items()}
    return [Route(name.split()[1], endpoint, methods=name.split()[:1]) for name, endpoint in requests.items()]


router = APIRouter(routes=_routes(), tags=["agents"])


@router.websocket("/sockets/bash-events")
async def stream_bash_events(socket: WebSocket, session_api_key: Annotated[str | None, Query()] = None) -> None:
    """Keep the socket open, because clients would reconnect endlessly, and refuse all commands."""
    if not await authenticate(socket, session_api_key):
        return
    while (received := await socket.receive())["type"] != "websocket.disconnect":
        if '"auth"' not in (received.get("text") or ""):
            await send_text(socket, orjson.dumps(_bash_error()).decode())


def _bash_error() -> dict[str, Any]:
    detail = str(needs_agent("run a command"))
    now = datetime.now(UTC).isoformat()
    return {"id": uuid4().hex, "timestamp": now, "code": "NeedsAgent", "detail": detail, "kind": "BashError"}
