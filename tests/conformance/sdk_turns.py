"""A conversation that the real openhands-sdk 1.58 keeps in a directory. Run by a Python that has it, not by tests.

sdk_turns.py STORE ID: for each line on its input it opens the conversation, says that line, closes it again, and prints
the ids of the log and of the active branch as JSON, on a line.
"""

from __future__ import annotations

import json
import os
import sys
import uuid

os.environ["OPENHANDS_SUPPRESS_BANNER"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"

from openhands.sdk import LLM, Agent, LocalConversation  # type: ignore[import-not-found]


def main() -> None:
    """Take turns until there is no line."""
    root, name = sys.argv[1:]
    print("ready", flush=True)
    for line in sys.stdin:
        conversation = LocalConversation(
            agent=Agent(llm=LLM(model="test/model", api_key="sk-not-to-be-seen"), tools=[]),
            workspace=root + "/../workspace",
            persistence_dir=root,
            conversation_id=uuid.UUID(name),
            visualizer=None,
        )
        conversation.send_message(line.strip())
        state = conversation.state
        seen = {
            "log": [event.id for event in state.events],
            "branch": [event.id for event in state.active_branch()],
            "status": state.execution_status.value,
        }
        conversation.close()
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
