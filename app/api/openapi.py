"""The OpenAPI document, its page at /docs, and the JSON schemas that pydantic models do not describe.

FastAPI's own page loads its script from a CDN, and users paste their key into the page. fastapi-offline serves the same
files locally. The page may run only them and its one inline script (known by hash), and connect only to this server.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Container
from importlib.resources import as_file, files
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import WithJsonSchema

from ..model.conversation import TITLE_MAX
from ..model.info import TAG_KEY, TAG_VALUE_MAX
from ..model.validation import EVENT_ID, EVENT_KIND, SOURCES
from .auth import DOCS_FILES, DOCS_PATH, DOCUMENT_PATH
from .error_responses import ErrorBody
from .headers import API_KEY, find_base_path
from .query_filters import ID_SCHEMA

_FASTAPI_ERROR = "HTTPValidationError"
_ERROR = {
    "description": "Any error: 400 a bad token, 401 no key, 403 a foreign origin, 404 unknown, 409 owned by another "
    "or not as expected, 410 gone, 422 a bad parameter, 503 the index or the directory cannot be used now",
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}},
}

# Request bodies that are stored with all fields, also unknown ones. `app.model` checks them; these only document them.
_MESSAGE = {
    "role": "user",
    "content": [{"type": "text", "text": "Add retry with jitter."}],
}
_NEW = {
    "agent": {"kind": "Agent", "llm": {"model": "openai/gpt-5.1"}, "tools": []},
    "workspace": {"kind": "LocalWorkspace", "working_dir": "/home/dev/project"},
    "initial_message": _MESSAGE,
    "title": "Retry with jitter",
    "tags": {"area": "auth"},
}
_NEW_SCHEMA = {
    "type": "object",
    "description": "a StartConversationRequest of agent-server; it may have `agent_settings` instead of `agent`. "
    "422 if agent-server 1.58.2 would refuse it",
    "properties": {
        "conversation_id": {**ID_SCHEMA, "description": "the id of the conversation; if missing, a new one"},
        "parent_conversation_id": ID_SCHEMA,
        "agent": {
            "type": "object",
            "properties": {
                "kind": {"type": "string"},
                "llm": {"type": "object", "properties": {"model": {"type": "string"}}},
            },
            "required": ["kind"],
        },
        "agent_settings": {"type": "object", "properties": {"agent_kind": {"enum": ["openhands", "acp"]}}},
        "workspace": {
            "type": "object",
            "properties": {"working_dir": {"type": "string"}},
            "required": ["working_dir"],
        },
        "initial_message": {
            "type": "object",
            "properties": {"role": {"type": "string"}, "content": {"type": "array", "items": {"type": "object"}}},
        },
        "title": {"type": "string", "minLength": 1, "maxLength": TITLE_MAX},
        "tags": {
            "type": "object",
            "propertyNames": {"pattern": TAG_KEY},
            "additionalProperties": {"type": "string", "maxLength": TAG_VALUE_MAX},
        },
    },
    "required": ["workspace"],
    "examples": [_NEW],
}

_EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": EVENT_ID, "description": "if missing, a new one"},
        "timestamp": {"type": "string", "description": "ISO 8601; if missing, the current time"},
        "source": {"enum": list(SOURCES)},
        "kind": {"type": "string", "pattern": EVENT_KIND},
        "parent_id": {"type": "string", "description": "the id of an event of this conversation; if missing, HEAD"},
    },
    "required": ["source", "kind"],
    "examples": [{"source": "user", "kind": "MessageEvent", "llm_message": _MESSAGE}],
}

NewConversation = Annotated[dict[str, Any], Body(), WithJsonSchema(_NEW_SCHEMA)]
AnyEvent = Annotated[dict[str, Any], WithJsonSchema(_EVENT_SCHEMA)]


def install(app: FastAPI, open_paths: Container[str]) -> None:
    """Complete the document of `app`, and serve it and its page. `open_paths` need no key."""
    incomplete = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(incomplete(), open_paths)
        return incomplete()

    async def get_document(request: Request) -> JSONResponse:
        base = find_base_path(request.scope)
        return JSONResponse({**openapi(), **({"servers": [{"url": base}]} if base else {})})

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route(DOCUMENT_PATH, get_document, include_in_schema=False)
    _serve_page(app)


def _complete(document: dict[str, Any], open_paths: Container[str]) -> None:
    """Document which requests need the key, and the body of errors."""
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": API_KEY}}
    document["security"] = [{"key": []}]
    schemas = components.setdefault("schemas", {})
    for unused in (_FASTAPI_ERROR, "ValidationError"):
        schemas.pop(unused, None)
    schemas[ErrorBody.__name__] = ErrorBody.model_json_schema()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in open_paths:
                operation["security"] = []
            if _FASTAPI_ERROR in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            operation["responses"]["default"] = _ERROR


def _serve_page(app: FastAPI) -> None:
    async def get_page(request: Request) -> HTMLResponse:
        return _render_page(f"{app.title}: API", find_base_path(request.scope))

    app.add_api_route(DOCS_PATH, get_page, include_in_schema=False)
    for name in DOCS_FILES:
        with as_file(files("fastapi_offline") / "static" / name) as path:
            app.add_api_route(f"{DOCS_PATH}/{name}", _file_endpoint(str(path)), include_in_schema=False)


def _render_page(title: str, base: str) -> HTMLResponse:
    script, style, icon = (f"{base}{DOCS_PATH}/{name}" for name in DOCS_FILES)
    page = get_swagger_ui_html(
        openapi_url=f"{base}{DOCUMENT_PATH}",
        title=title,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        swagger_ui_parameters={"persistAuthorization": False},
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())
    return page


def _file_endpoint(path: str) -> Callable[[], Awaitable[FileResponse]]:
    async def get_file() -> FileResponse:
        return FileResponse(path, headers={"Cache-Control": "max-age=86400"})

    return get_file


def _policy(html: str) -> str:
    """Return a Content-Security-Policy that allows only the scripts and connections that the page needs."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in inline)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
