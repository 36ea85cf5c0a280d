"""ConversationInfo: the API's answer for one conversation, composed from meta.json and base_state.json.

One field with an unexpected type makes a whole page unreadable for agent-server's clients, so such fields are found and
left out.

Source of the fields: openhands-agent-server 1.58, models.py, `_ConversationInfoBase` and `_compose_conversation_info`.
Types inside nested models are not checked further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from .ids import dashed, find_conversation_id
from .secrets import mask_shown

STUB_AGENT = {"kind": "Agent", "llm": {"model": "unknown"}, "tools": []}
STUB_WORKSPACE = {"kind": "LocalWorkspace", "working_dir": "."}

RUNTIME_INFO = {"runtime_status": "available", "can_resume": True, "runtime_error": None}
"""The answer of agent-server for a conversation that runs in no container."""

_FROM_META = ("metrics", "forked_from_event_id", "launched_agent_profile")
_SHOWN_AS_STORED = ("tags", "stats")


def compose_info(state: dict[str, Any], meta: dict[str, Any], *, include_skills: bool) -> dict[str, Any]:
    """Return the fields of ConversationInfo that come from the two files, with secrets masked.

    The fold adds id, title, status, times and parent; the index adds `sub_conversation_ids` and `subagent_ids`. Changes
    `state` in place, so pass a dictionary that is used nowhere else. Without `include_skills`, the agent's skills are
    replaced by `[]`.
    """
    agent = state.get("agent")
    context = agent.get("agent_context") if isinstance(agent, dict) else None
    if not include_skills and isinstance(context, dict) and context.get("skills"):
        context["skills"] = []
    info = {name: value for name, value in state.items() if name not in _SHOWN_AS_STORED}
    if isinstance(agent, dict):
        info["agent"] = None
    mask_shown(info)
    if isinstance(agent, dict):
        info["agent"] = _show_agent(agent)
    info |= {name: state[name] for name in _SHOWN_AS_STORED if name in state}
    if "stats" in info:
        info["stats"] = _complete_stats(info["stats"])
    if not is_agent(agent):
        info["agent"] = dict(STUB_AGENT)
    workspace = state.get("workspace") or meta.get("workspace")
    info["workspace"] = mask_shown(workspace) if isinstance(workspace, dict) else dict(STUB_WORKSPACE)
    if "tags" not in info:
        info["tags"] = meta.get("tags") or {}
    for name in _FROM_META:
        info[name] = mask_shown(meta.get(name))
    info["client_tools"] = mask_shown(meta.get("client_tools")) or []
    info["tool_module_qualnames"] = meta.get("tool_module_qualnames") or {}
    for name in ("forked_from_conversation_id", "parent_conversation_id"):
        other = related_id(meta, name)
        info[name] = dashed(other) if other else None
    info.update(_models(state))
    info["runtime_info"] = RUNTIME_INFO
    return info


def _show_agent(agent: dict[str, Any]) -> object:
    """Return an agent with secrets masked. Agents are large, and many conversations have the same one."""
    raw = orjson.dumps(agent)
    shown: object = (_show_kept if len(raw) <= _KEPT_BYTES_MAX else _show)(raw)
    return shown


def _show(raw: bytes) -> object:
    return mask_shown(orjson.loads(raw))


_KEPT_BYTES_MAX = 20_000
_show_kept = lru_cache(maxsize=64)(_show)
"""Returns the same object each time, which nobody changes."""


def _complete_stats(stats: object) -> object:
    """Return stats with `max_budget_per_task`, which agent-server does not store if it is null.

    agent-canvas fails without the field.
    """
    usages = stats.get("usage_to_metrics") if isinstance(stats, dict) else None
    if not isinstance(stats, dict) or not isinstance(usages, dict):
        return stats
    complete = {
        name: {"max_budget_per_task": None} | usage if isinstance(usage, dict) else usage
        for name, usage in usages.items()
    }
    return stats | {"usage_to_metrics": complete}


def is_agent(value: object) -> bool:
    """Whether a client can parse the value as an agent: any kind is accepted, but the kind `Agent` needs a model."""
    match value:
        case {"kind": "Agent", "llm": {"model": str()}}:
            return True
        case {"kind": str(kind)}:
            return kind != "Agent"
    return False


def related_id(meta: dict[str, Any], name: str) -> str | None:
    """Return the id in field `name` of meta.json, or None if it is missing or invalid."""
    value = meta.get(name)
    return find_conversation_id(value) if isinstance(value, str) else None


def _models(state: dict[str, Any]) -> dict[str, Any]:
    hints = state.get("agent_state")
    hints = hints if isinstance(hints, dict) else {}
    agent = state.get("agent")
    acp_model = agent.get("acp_model") if isinstance(agent, dict) else None
    return {
        "current_model_id": hints.get("acp_current_model_id") or acp_model,
        "available_models": hints.get("acp_available_models") or [],
        "supports_runtime_model_switch": bool(hints.get("acp_supports_runtime_model_switch")),
    }


TAG_VALUE_MAX = 256
"""In characters; source: openhands-sdk 1.58, conversation/types.py."""

TAG_KEY = "^[a-z0-9]+$"
match_tag_key = re.compile(TAG_KEY).fullmatch

_LOCAL = "LocalWorkspace"


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_kind(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("kind"), str)


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_object_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_tags(value: object) -> bool:
    return isinstance(value, dict) and all(
        match_tag_key(key) and isinstance(text, str) and len(text) <= TAG_VALUE_MAX for key, text in value.items()
    )


def _is_workspace(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("kind", _LOCAL) != _LOCAL or isinstance(value.get("working_dir"), str)


def _are_stats(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    usages = value.get("usage_to_metrics", {})
    return isinstance(usages, dict) and all(isinstance(usage, dict) for usage in usages.values())


_NEVER_NULL: Mapping[str, Callable[[object], bool]] = {
    "max_iterations": _is_count,
    "stuck_detection": lambda value: isinstance(value, bool),
    "confirmation_policy": _is_kind,
    "activated_knowledge_skills": _is_list_of_texts,
    "invoked_skills": _is_list_of_texts,
    "blocked_actions": _is_object_of_texts,
    "blocked_messages": _is_object_of_texts,
    "stats": _are_stats,
    "secret_registry": _is_object,
    "agent_state": _is_object,
}
_OR_NULL: Mapping[str, Callable[[object], bool]] = {
    "tags": _are_tags,
    "workspace": _is_workspace,
    "persistence_dir": _is_text,
    "security_analyzer": _is_kind,
    "last_user_message_id": _is_text,
    "leaf_event_id": _is_text,
    "hook_config": _is_object,
    "metrics": _is_object,
    "forked_from_event_id": _is_text,
    "launched_agent_profile": _is_object,
}


def list_misshapen(fields: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields whose types agent-server's clients cannot parse."""
    wrong = [name for name, fits in _NEVER_NULL.items() if name in fields and not fits(fields[name])]
    return wrong + [name for name, fits in _OR_NULL.items() if fields.get(name) is not None and not fits(fields[name])]
