"""What the real client of openhands-sdk 1.58 does with a server. Run by a Python that has it, not imported by tests.

Reads {"url", "key", "ids"} from standard input and prints what it saw as JSON, on a line of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

os.environ["OPENHANDS_SUPPRESS_BANNER"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"

from openhands.sdk import LLM, Agent, RemoteConversation, RemoteWorkspace  # type: ignore[import-not-found]
from openhands.sdk.event import MessageEvent  # type: ignore[import-not-found]
from openhands.tools.preset import default as _  # type: ignore[import-not-found]  # noqa: F401  (registers the tools)


def main() -> None:
    """Attach to every conversation, talk in one, fork it, and make a new one."""
    asked = json.load(sys.stdin)
    workspace = RemoteWorkspace(host=asked["url"], api_key=asked["key"], working_dir="/workspace")
    attached = {name: _look(_attach(workspace, name)) for name in asked["ids"]}
    heard: list[Any] = []
    conversation = _attach(workspace, asked["ids"][0], heard.append)
    conversation.send_message("a word from the real client")
    arrived_ms = _arrival_ms(heard, "a word from the real client")
    conversation.set_title("renamed by the real client")
    fork = conversation.fork(title="a fork")
    created = RemoteConversation(
        agent=Agent(llm=LLM(model="test/model", api_key="sk-not-to-be-seen"), tools=[]),
        workspace=workspace,
        tags={"made": "here"},
        visualizer=None,
    )
    created.send_message("the first word")
    found = {
        "attached": attached,
        "arrived_ms": arrived_ms,
        "title": conversation.state.refresh_from_server()["title"],
        "fork": _look(fork),
        "created": str(created.id),
        "said": [_text(event) for event in _attach(workspace, str(created.id)).state.events if _is_message(event)],
    }
    print("\n" + json.dumps(found), flush=True)
    os._exit(0)  # closing waits five seconds for each socket's thread


def _attach(
    workspace: RemoteWorkspace, name: str, callback: Callable[[Any], None] = lambda _event: None
) -> RemoteConversation:
    return RemoteConversation.attach(workspace, uuid.UUID(name), callbacks=[callback], visualizer=None)


def _look(conversation: RemoteConversation) -> dict[str, Any]:
    """Return what the client shows of a conversation."""
    state = conversation.state
    return {"status": state.execution_status.value, "events": [event.id for event in state.events]}


def _arrival_ms(heard: list[Any], text: str) -> float | None:
    began = time.monotonic()
    while time.monotonic() < began + 10:
        if any(_is_message(event) and _text(event) == text for event in list(heard)):
            return round((time.monotonic() - began) * 1000, 1)
        time.sleep(0.001)
    return None


def _is_message(event: object) -> bool:
    return isinstance(event, MessageEvent)


def _text(event: MessageEvent) -> str:
    return str(event.llm_message.content[0].text)


if __name__ == "__main__":
    main()
