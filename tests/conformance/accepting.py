"""Run with a Python that has openhands-agent-server: answers each line of JSON with one of JSON.

`{"request"}`: why agent-server refuses a request to create a conversation, or null. It checks what agent-server checks
before it starts one, and starts none. `{"meta", "state"}`: why it cannot read these two files, or null. `{}`: the JSON
schema of a request.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openhands.agent_server.api  # type: ignore[import-not-found]  # noqa: F401 - registers the tools that it brings
from openhands.agent_server.launch import launch_source  # type: ignore[import-not-found]
from openhands.agent_server.models import (  # type: ignore[import-not-found]
    StartConversationRequest,
    StoredConversation,
)
from openhands.sdk.conversation.state import ConversationState  # type: ignore[import-not-found]
from openhands.sdk.launch import LaunchRuntime, finalize  # type: ignore[import-not-found]
from openhands.sdk.tool import client_tool  # type: ignore[import-not-found]


def check_request(request: dict[str, Any]) -> None:
    read = StartConversationRequest.model_validate(request)
    assert read.conversation_runtime in (None, "local")
    client_tool._client_action_types.clear()  # those of the requests before
    tools = client_tool.register_client_tools(read.client_tools)
    source = launch_source(read, None, None)
    finalize(source, LaunchRuntime(), additions=read.agent_launch_additions, client_tools=tools)


def check_files(meta: dict[str, Any], state: dict[str, Any]) -> None:
    stored = StoredConversation.model_validate_json(json.dumps(meta))
    ConversationState.model_validate_json(json.dumps(state))
    client_tool._client_action_types.clear()
    client_tool.register_client_tools(stored.client_tools)


def answer(asked: dict[str, Any]) -> Any:
    if not asked:
        return StartConversationRequest.model_json_schema(mode="validation")
    try:
        check_request(asked["request"]) if "request" in asked else check_files(asked["meta"], asked["state"])
    except Exception as error:  # noqa: BLE001 - agent-server answers some with 500
        return f"{type(error).__name__}: {error}"[:300]
    return None


if __name__ == "__main__":
    for line in sys.stdin:
        print(f"answer:{json.dumps(answer(json.loads(line)))}", flush=True)
