"""What the objects of a request look like that are kept as they come, whatever further fields they have.

This describes them in the OpenAPI document; the model checks them.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from pydantic import Field, WithJsonSchema

from app.api.parameters import ID_SCHEMA
from app.model.conversation import TITLE_MAX
from app.model.facets import FacetKind
from app.model.info import TAG_KEY, TAG_VALUE_MAX
from app.model.validation import EVENT_ID, EVENT_KIND, SOURCES

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
    "description": "a StartConversationRequest of agent-server; `agent_settings` may stand in the place of `agent`",
    "properties": {
        "conversation_id": {**ID_SCHEMA, "description": "its id; a new one if there is none"},
        "parent_conversation_id": ID_SCHEMA,
        "agent": {
            "type": "object",
            "properties": {
                "kind": {"type": "string"},
                "llm": {"type": "object", "properties": {"model": {"type": "string"}}},
            },
            "required": ["kind"],
        },
        "agent_settings": {"type": "object"},
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
        "id": {"type": "string", "pattern": EVENT_ID, "description": "a new one if there is none"},
        "timestamp": {"type": "string", "description": "ISO 8601; now if there is none"},
        "source": {"enum": list(SOURCES)},
        "kind": {"type": "string", "pattern": EVENT_KIND},
        "parent_id": {"type": "string", "description": "an event of this conversation; HEAD if there is none"},
    },
    "required": ["source", "kind"],
    "examples": [{"source": "user", "kind": "MessageEvent", "llm_message": _MESSAGE}],
}

_KIND = f"({'|'.join(FacetKind)}|{FacetKind.TAG}:[^,]+)"
_FACETS_SCHEMA = {"type": "string", "pattern": f"^{_KIND}(,{_KIND})*$", "examples": ["status", "model,tag:area"]}

FacetNames = Annotated[str, Field(max_length=1000), WithJsonSchema(_FACETS_SCHEMA)]
NewConversation = Annotated[dict[str, Any], Body(), WithJsonSchema(_NEW_SCHEMA)]
AnyEvent = Annotated[dict[str, Any], WithJsonSchema(_EVENT_SCHEMA)]
