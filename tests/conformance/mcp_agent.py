"""An agent of the real openhands-sdk 1.58 with convstore as its MCP server. Run by a Python that has it.

Reads {"server", "workspace"} from standard input. Prints, as JSON on a line of its own, the tools of the agent and
its final answer. The model is a script: it searches, reads the events around the first hit, and answers with the line
that has the decision. So its answer is what an earlier conversation says, if the tools work.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

os.environ["OPENHANDS_SUPPRESS_BANNER"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"

from openhands.sdk import Agent, Conversation  # type: ignore[import-not-found]
from openhands.sdk.conversation.response_utils import get_agent_final_response  # type: ignore[import-not-found]
from openhands.sdk.llm import Message, MessageToolCall, TextContent  # type: ignore[import-not-found]
from openhands.sdk.testing import TestLLM  # type: ignore[import-not-found]


class Script(TestLLM):  # type: ignore[misc]
    """A model that follows a script, and takes the arguments of its calls from the answers before."""

    def completion(self, messages: list[Any], *arguments: Any, **given: Any) -> Any:
        """Return the next call of a tool."""
        answers = [_text(message) for message in messages if message.role == "tool"]
        self._scripted_responses.append(_call(len(answers), *_next(answers)))
        return super().completion(messages, *arguments, **given)


def _next(answers: list[str]) -> tuple[str, dict[str, Any]]:
    """Return (the name of the next tool, its arguments)."""
    if not answers:
        return "search_messages", {"query": "indentation decision"}
    if len(answers) == 1:
        hit = re.search(r"^conversation (\S+), event (\d+)", answers[0], re.MULTILINE)
        if hit is None:
            return "finish", {"message": f"nothing found: {answers[0]}"}
        return "get_events", {"conversation_id": hit[1], "around": int(hit[2])}
    found = re.search(r"^> (Decision: .*)$", answers[1], re.MULTILINE)
    return "finish", {"message": found[1] if found else f"nothing found: {answers[1]}"}


def _call(number: int, name: str, arguments: dict[str, Any]) -> Any:
    call = MessageToolCall(id=f"call_{number}", name=name, arguments=json.dumps(arguments), origin="completion")
    return Message(role="assistant", content=[TextContent(text="")], tool_calls=[call])


def _text(message: Any) -> str:
    return "\n".join(part.text for part in message.content if isinstance(part, TextContent))


def main() -> None:
    """Ask the agent once."""
    asked = json.load(sys.stdin)
    agent = Agent(llm=Script.from_messages([]), tools=[], mcp_config={"convstore": asked["server"]})
    conversation = Conversation(agent=agent, workspace=asked["workspace"], visualizer=None)
    try:
        conversation.send_message("How do we indent here?")
        conversation.run()
        answer = get_agent_final_response(conversation.state.events)
    finally:
        conversation.close()
    print()
    print(json.dumps({"tools": sorted(conversation.agent.tools_map), "answer": answer}), flush=True)


if __name__ == "__main__":
    main()
