"""The JSON of conversations as agent-server 1.58 writes it: meta.json, base_state.json and events of real sizes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any
from uuid import UUID

Json = dict[str, Any]

STATUSES = ("finished",) * 5 + ("idle", "error", "paused", "stuck", "waiting_for_confirmation")
"""Half of the conversations are finished; the rest are spread over the other statuses that are stored."""

_ROUNDS = (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6, 7, 8, 10, 15, 25, 26)
_WORDS = 60_000
_LENGTH = 70
_BEGIN = datetime(2025, 1, 1)  # noqa: DTZ001 - agent-server writes event times without a zone
_TOOLS = ("terminal", "file_editor", "task_tracker", "finish", "think")
_TASK = (
    "add retry with jitter to the client. Requests fail with ConnectionResetError when the upstream restarts; "
    "back off exponentially, cap at 30s."
)


def new_id(random: Random) -> UUID:
    """Return the generator's next id."""
    return UUID(int=random.getrandbits(128), version=4)


def make_meta(conversation_id: UUID, *, title: str, created_at: str, updated_at: str, parent: UUID | None) -> Json:
    """Return a meta.json of about 1 kB."""
    return {
        "workspace": {"working_dir": "/home/dev/project", "kind": "LocalWorkspace"},
        "worktree": False,
        "worktree_options": None,
        "conversation_id": None,
        "parent_conversation_id": str(parent) if parent else None,
        "confirmation_policy": {"kind": "NeverConfirm"},
        "security_analyzer": None,
        "initial_message": None,
        "max_iterations": 500,
        "stuck_detection": True,
        "secrets": {},
        "secrets_encrypted": False,
        "tool_module_qualnames": {},
        "client_tools": [],
        "agent_launch_additions": None,
        "agent_definitions": [],
        "plugins": None,
        "hook_config": None,
        "tags": {"area": "backend"},
        "user_id": None,
        "observability_metadata": {},
        "observability_tags": [],
        "observability_span_name": "conversation",
        "observability_parent_span_context": None,
        "autotitle": True,
        "title_llm_profile": None,
        "prompt": None,
        "required_runtime_credential_bindings": [],
        "id": conversation_id.hex,
        "title": title,
        "metrics": None,
        "created_at": created_at,
        "updated_at": updated_at,
        "forked_from_conversation_id": None,
        "forked_from_event_id": None,
        "launched_agent_profile": None,
    }


def make_state(conversation_id: UUID, *, status: str, leaf: str, skills: list[Json]) -> Json:
    """Return a base_state.json of about 3 kB, and as much more as `skills` are."""
    llm = {
        "model": "anthropic/claude-sonnet-4-5-20250929",
        "api_key": "**********",
        "auth_type": "api_key",
        "openrouter_site_url": "https://docs.all-hands.dev/",
        "openrouter_app_name": "OpenHands",
        "num_retries": 5,
        "retry_multiplier": 8.0,
        "retry_min_wait": 8,
        "retry_max_wait": 64,
        "timeout": 300,
        "stream_idle_timeout": 300.0,
        "max_message_chars": 30000,
        "api_mode": "auto",
        "capability_overrides": {},
        "stream": False,
        "drop_params": True,
        "disable_stop_word": False,
        "caching_prompt": True,
        "log_completions": False,
        "log_completions_folder": "logs/completions",
        "native_tool_calling": True,
        "reasoning_effort": "high",
        "enable_encrypted_reasoning": True,
        "prompt_cache_retention": "24h",
        "extended_thinking_budget": 200000,
        "usage_id": "agent",
        "litellm_extra_body": {},
        "is_subscription": False,
    }
    usage = {"prompt_tokens": 51234, "completion_tokens": 2345, "cache_read_tokens": 40960, "reasoning_tokens": 0}
    metrics = {"model_name": llm["model"], "accumulated_cost": 0.1875, "accumulated_token_usage": usage, "costs": []}
    agent: Json = {
        "llm": llm,
        "tools": [{"name": name, "params": {}} for name in _TOOLS[:3]],
        "mcp_config": {},
        "include_default_tools": ["FinishTool", "ThinkTool"],
        "system_prompt_filename": "system_prompt.j2",
        "security_policy_filename": "security_policy.j2",
        "system_prompt_kwargs": {"llm_security_analyzer": True},
        "tool_concurrency_limit": 1,
        "condenser": {"llm": llm | {"usage_id": "condenser"}, "max_size": 240, "kind": "LLMSummarizingCondenser"},
        "kind": "Agent",
    }
    if skills:
        agent["agent_context"] = {"skills": skills}
    return {
        "id": str(conversation_id),
        "agent": agent,
        "workspace": {"working_dir": "/home/dev/project", "kind": "LocalWorkspace"},
        "persistence_dir": f"/srv/conversations/{conversation_id.hex}",
        "max_iterations": 500,
        "stuck_detection": True,
        "execution_status": status,
        "confirmation_policy": {"kind": "NeverConfirm"},
        "activated_knowledge_skills": [],
        "activated_path_rules": [],
        "invoked_skills": [],
        "blocked_actions": {},
        "blocked_messages": {},
        "leaf_event_id": leaf,
        "head_is_empty": False,
        "stats": {"usage_to_metrics": {"agent": metrics}},
        "secret_registry": {"secret_sources": {}},
        "tags": {"area": "backend"},
        "agent_state": {},
    }


def make_skills(size_kb: int) -> list[Json]:
    """Return skills of about `size_kb` kB of JSON together, as a stock agent carries them; none for 0."""
    text = "Guidance for the agent, a line of it. " * (size_kb * 1024 // 40 // 38)
    return [{"name": f"skill-{i}", "content": text, "trigger": None} for i in range(40)] if size_kb else []


def make_speech(random: Random) -> Iterator[str]:
    """Give texts of some 75 words, which are as frequent as those of a language are; without end."""
    syllables = [a + b for a in "bdfghjklmnprstvw" for b in "aeiou"]
    words = ["".join(random.choices(syllables, k=random.randint(1, 4))) for _ in range(_WORDS)]
    shares = list(accumulate(1 / (place + 1) for place in range(_WORDS)))
    while True:
        yield " ".join(random.choices(words, cum_weights=shares, k=int(random.expovariate(1 / _LENGTH)) + 5))


def make_log(random: Random, rounds: int | None = None, speech: Iterator[str] | None = None) -> list[Json]:
    """Return the events of one conversation: a task, `rounds` of tool use, and the finish; 17 events on average.

    With `speech`, what the agent thinks is the next of those texts each time; else it is the same short one.
    """
    rounds = random.choice(_ROUNDS) if rounds is None else rounds
    events = [_system_prompt(), _message()]
    for number in range(rounds):
        tool = random.choice(_TOOLS[:2])
        events += [_action(tool, number), _observation(tool, number)]
    events += [_action("finish", rounds), _observation("finish", rounds)]
    if speech is not None:
        for block in [block for event in events for block in event.get("thought", ())]:
            block["text"] = next(speech)
    parent = None
    for number, event in enumerate(events):
        about: Json = {"id": str(new_id(random)), "timestamp": (_BEGIN + timedelta(seconds=number)).isoformat()}
        events[number] = about | ({"parent_id": parent} if parent else {}) | event
        parent = about["id"]
    return events


def _system_prompt() -> Json:
    tools = [
        {
            "description": f"The {name} tool.",
            "action_type": f"{name}Action",
            "observation_type": f"{name}Observation",
            "annotations": {"title": name, "readOnlyHint": False, "destructiveHint": True, "openWorldHint": True},
            "kind": f"{name}Tool",
            "title": name,
        }
        for name in _TOOLS
    ]
    text = "You are a coding agent. Work in the given directory, keep changes small and verify them."
    prompt = {"cache_prompt": False, "type": "text", "text": text}
    return {"source": "agent", "system_prompt": prompt, "tools": tools, "kind": "SystemPromptEvent"}


def _message() -> Json:
    content = [{"cache_prompt": False, "type": "text", "text": _TASK}]
    message = {"role": "user", "content": content, "thinking_blocks": []}
    more: Json = {"activated_skills": [], "extended_content": []}
    return {"source": "user", "llm_message": message, **more, "kind": "MessageEvent"}


def _action(tool: str, number: int) -> Json:
    arguments: Json = {"command": f"ls -la && echo 'step {number}'", "is_input": False, "reset": False}
    if tool == "file_editor":
        text = "def fetch(url):\n    return client.get(url)\n"
        arguments = {"command": "create", "path": f"/home/dev/project/m{number}.py", "file_text": text * 2}
    elif tool == "finish":
        arguments = {"message": f"Done: {_TASK}"}
    call = {"id": f"call_{number:08x}", "name": tool, "arguments": str(arguments), "origin": "completion"}
    return {
        "source": "agent",
        "thought": [{"cache_prompt": False, "type": "text", "text": "I will look at the code first, then change it."}],
        "thinking_blocks": [],
        "action": arguments | {"kind": f"{tool}Action"},
        "tool_name": tool,
        "tool_call_id": call["id"],
        "tool_call": call,
        "llm_response_id": f"response-{number}",
        "security_risk": "UNKNOWN",
        "summary": f"{tool}: step {number}",
        "kind": "ActionEvent",
    }


def _observation(tool: str, number: int) -> Json:
    shell = {
        "exit_code": 0,
        "pid": -1,
        "username": "dev",
        "hostname": "sandbox",
        "working_dir": "/home/dev/project",
        "py_interpreter_path": "/usr/bin/python3",
        "prefix": "",
        "suffix": "\n[The command completed with exit code 0.]",
    }
    text = f"Done: {_TASK}" if tool == "finish" else "total 24\ndrwxr-xr-x 2 dev dev 4096 Jan 1 12:00 src\n"
    return {
        "source": "environment",
        "tool_name": tool,
        "tool_call_id": f"call_{number:08x}",
        "observation": {
            "content": [{"cache_prompt": False, "type": "text", "text": text}],
            "is_error": False,
            **({"exit_code": 0, "timeout": False, "metadata": shell} if tool == "terminal" else {}),
            "kind": f"{tool}Observation",
        },
        "action_id": "00000000-0000-4000-8000-000000000000",
        "extended_content": [],
        "kind": "ObservationEvent",
    }
