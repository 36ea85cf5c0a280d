"""The two files of a new conversation or of a fork.

The fields of meta.json come from agent-server 1.58's StoredConversation (models.py, and openhands-sdk's
conversation/request.py), the fields of base_state.json from its ConversationState.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.errors import InvalidConversation
from app.model.ids import ConversationId, dashed
from app.model.info import is_agent, list_misshapen
from app.model.json_splice import RawObject
from app.model.secrets import MASK, mask_secrets
from app.model.times import format_us
from app.model.validation import check_tags

Seal = Callable[[str], str]
"""Turns a secret into a text that may be stored: a token encrypted with the key, or the mask."""

_ENCRYPTED = "gAAAA"
_META_DEFAULTS: dict[str, Any] = {
    "worktree": False,
    "worktree_options": None,
    "conversation_id": None,
    "parent_conversation_id": None,
    "confirmation_policy": {"kind": "NeverConfirm"},
    "security_analyzer": None,
    "initial_message": None,
    "max_iterations": 500,
    "stuck_detection": True,
    "secrets": {},
    "tool_module_qualnames": {},
    "client_tools": [],
    "agent_launch_additions": None,
    "agent_definitions": [],
    "plugins": None,
    "hook_config": None,
    "tags": {},
    "user_id": None,
    "observability_metadata": {},
    "observability_tags": [],
    "observability_span_name": "conversation",
    "observability_parent_span_context": None,
    "autotitle": True,
    "title_llm_profile": None,
    "prompt": None,
}
_META_TYPES: dict[str, type] = {
    **{name: type(value) for name, value in _META_DEFAULTS.items() if value is not None},
    "plugins": list,
    "title_llm_profile": str,
    "user_id": str,
    "worktree_options": dict,
    "agent_launch_additions": dict,
    "observability_parent_span_context": str,
    "prompt": str,
}
_AGENT_TYPES: dict[str, type] = {"tools": list, "mcp_config": dict, "include_default_tools": list}
_AGENT_TYPES_OR_NULL: dict[str, type] = {
    "agent_context": dict,
    "condenser": dict,
    "critic": dict,
    "filter_tools_regex": str,
    "system_prompt": str,
    "system_prompt_filename": str,
    "security_policy_filename": str,
}
_CONTEXT_TYPES_OR_NULL: dict[str, type] = {
    "skills": list,
    "secrets": dict,
    "system_message_suffix": str,
    "user_message_suffix": str,
}
_LLM_TYPES_OR_NULL: dict[str, type] = {
    **dict.fromkeys(("api_key", "base_url", "api_version", "usage_id", "auth_type"), str),
    **dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name"), str),
    **dict.fromkeys(("extra_headers", "litellm_extra_body"), dict),
}
_TYPES_INSIDE: dict[str, type] = {
    "client_tools": dict,
    "tool_module_qualnames": str,
    "agent_definitions": dict,
    "plugins": dict,
    "observability_tags": str,
    "tools": dict,
    "mcp_config": dict,
    "include_default_tools": str,
    "skills": dict,
    "extra_headers": str,
}
_NAMES_INSIDE: dict[str, tuple[str, ...]] = {
    "client_tools": ("name", "description"),
    "agent_definitions": ("name",),
    "plugins": ("source",),
    "tools": ("name",),
    "skills": ("name", "content"),
}
"""Text fields that list items must have: agent-server's models have no default for them and reject the whole list."""

_SECRETS = ("StaticSecret", "LookupSecret")
_NOT_IN_META = frozenset({"agent", "agent_settings", "agent_profile_id", "title", "conversation_runtime", "container"})
_IN_BOTH = ("max_iterations", "stuck_detection", "confirmation_policy", "security_analyzer", "hook_config")


def mask_all(_secret: str) -> str:
    """Return the mask for any secret, as agent-server does if it has no key."""
    return MASK


def compose_new(
    request: Mapping[str, Any], conversation_id: ConversationId, now_us: int, seal: Seal
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return meta.json and base_state.json for a StartConversationRequest.

    Raises:
        InvalidConversation: the workspace or agent is missing, or agent-server could not read a value.
    """
    agent, workspace = _agent(request), _workspace(request)
    tags = check_tags(request.get("tags") or {})
    given = {name: value for name, value in request.items() if name not in _NOT_IN_META and value is not None}
    meta = _META_DEFAULTS | given
    meta |= {
        "workspace": workspace,
        "tags": tags,
        "id": conversation_id,
        "title": request.get("title"),
        "metrics": None,
        "created_at": format_us(now_us),
        "updated_at": format_us(now_us),
        "forked_from_conversation_id": None,
        "forked_from_event_id": None,
        "launched_agent_profile": None,
    }
    sealed = seal_secrets({**meta, "secrets": meta["secrets"]}, seal)
    meta = sealed | {"title": meta["title"], "tags": tags, "initial_message": meta["initial_message"]}
    state = {
        "id": dashed(conversation_id),
        "agent": seal_secrets(agent, seal),
        "workspace": meta["workspace"],
        "execution_status": "idle",
        **{name: meta[name] for name in _IN_BOTH if meta[name] is not None},
        "activated_knowledge_skills": [],
        "activated_path_rules": [],
        "invoked_skills": [],
        "blocked_actions": {},
        "blocked_messages": {},
        "head_is_empty": False,
        "stats": {"usage_to_metrics": {}},
        "secret_registry": {"secret_sources": meta["secrets"]},
        "tags": tags,
        "agent_state": {},
    }
    wrong = {
        *_of_another_type(given, _META_TYPES),
        *list_misshapen(meta),
        *list_misshapen(state),
        *(f"agent.{name}" for name in _of_another_type(agent, _AGENT_TYPES)),
        *(f"agent.{name}" for name in _wrong_if_set(agent, _AGENT_TYPES_OR_NULL)),
        *(f"agent.llm.{name}" for name in _wrong_if_set(agent.get("llm"), _LLM_TYPES_OR_NULL)),
        *(f"agent.agent_context.{name}" for name in _wrong_if_set(agent.get("agent_context"), _CONTEXT_TYPES_OR_NULL)),
        *(f"agent.{name}" for name in ("condenser", "critic") if not _is_kind_or_null(agent.get(name))),
        *([] if is_agent(agent) else ["agent"]),
        *(["agent.llm.model"] if isinstance(agent.get("llm"), dict) and agent["llm"].get("model") == "" else []),
        *([] if _are_secrets(given.get("secrets", {})) else ["secrets"]),
    }
    if wrong:
        raise InvalidConversation(
            f"{', '.join(sorted(wrong))}: agent-server cannot read these values; correct or omit them"
        )
    return meta, state


def _of_another_type(fields: Mapping[str, Any], types: Mapping[str, type]) -> list[str]:
    """Return the names of fields whose value, or an item inside the value, has the wrong type."""
    return [name for name, kind in types.items() if name in fields and not _is_of_type(name, fields[name], kind)]


def _wrong_if_set(fields: object, types: Mapping[str, type]) -> list[str]:
    given = fields if isinstance(fields, dict) else {}
    return _of_another_type({name: value for name, value in given.items() if value is not None}, types)


def _is_of_type(name: str, value: Any, kind: type) -> bool:  # noqa: ANN401
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    right = name not in _TYPES_INSIDE or all(type(one) is _TYPES_INSIDE[name] for one in inner)
    named = right and all(type(one.get(key)) is str for one in inner for key in _NAMES_INSIDE.get(name, ()))
    return named and type(value) is kind


def _is_kind_or_null(value: object) -> bool:
    return not isinstance(value, dict) or isinstance(value.get("kind"), str)


def _are_secrets(value: object) -> bool:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        return False
    return all(one.get("kind") in _SECRETS and isinstance(one.get("value", ""), str | None) for one in value.values())


def _workspace(request: Mapping[str, Any]) -> dict[str, Any]:
    given = request.get("workspace")
    workspace: dict[str, Any] = {"kind": "LocalWorkspace", **given} if isinstance(given, dict) else {}
    if not all(isinstance(workspace.get(name), str) for name in ("kind", "working_dir")):
        raise InvalidConversation("workspace: must be an object with a working_dir")
    return workspace


def _agent(request: Mapping[str, Any]) -> dict[str, Any]:
    agent = request.get("agent")
    if isinstance(agent, dict):
        kind = agent.get("kind", "Agent" if "llm" in agent else None)
        if isinstance(kind, str):
            return agent | {"kind": kind}
    settings = request.get("agent_settings")
    if agent is None and isinstance(settings, dict):
        kept = {name: settings[name] for name in ("llm", "tools", "mcp_config", "agent_context") if name in settings}
        return {"llm": {"model": "unknown"}, "tools": [], **kept, "kind": "Agent"}
    raise InvalidConversation(
        "agent: must be an object with a kind or an llm, or send agent_settings; agent profiles are not supported"
    )


def seal_secrets(value: dict[str, Any], seal: Seal) -> dict[str, Any]:
    """Return a copy with every secret sealed. Secrets that are already encrypted or masked stay as they are."""
    masked = mask_secrets(orjson.loads(orjson.dumps(value)))
    sealed: dict[str, Any] = _merge(value, masked, seal)
    return sealed


def _merge(plain: Any, masked: Any, seal: Seal) -> Any:  # noqa: ANN401
    if isinstance(masked, dict) and isinstance(plain, dict):
        return {name: _merge(plain[name], item, seal) for name, item in masked.items()}
    if isinstance(masked, list) and isinstance(plain, list):
        return [_merge(left, right, seal) for left, right in zip(plain, masked, strict=True)]
    if masked == MASK and isinstance(plain, str) and plain not in ("", MASK):
        return plain if plain.startswith(_ENCRYPTED) else seal(plain)
    return masked


def forked_state(
    state: RawObject,
    fork_id: ConversationId,
    *,
    directory: str,
    tags: Mapping[str, str],
    head: str | None,
    reset_metrics: bool,
) -> RawObject:
    """Return the base_state.json of a fork: the source's bytes with status idle and the fork's own id, tags and HEAD.

    `head` is an event id; None keeps the source's HEAD.
    """
    values: dict[str, Any] = {
        "id": dashed(fork_id),
        "execution_status": "idle",
        "blocked_actions": {},
        "blocked_messages": {},
        "tags": dict(tags),
    }
    if state.find("persistence_dir") is not None:
        values["persistence_dir"] = directory
    if reset_metrics:
        values["stats"] = {"usage_to_metrics": {}}
    if head is not None:
        values |= {"leaf_event_id": head, "head_is_empty": False}
    return _set(state, values)


def forked_meta(
    meta: RawObject,
    fork_id: ConversationId,
    source_id: ConversationId,
    *,
    title: str | None,
    tags: Mapping[str, str],
    from_event_id: str | None,
    now_us: int,
    reset_metrics: bool,
) -> RawObject:
    """Return the meta.json of a fork: the source's bytes with the fork's own id, title, tags, times and origin."""
    values = {
        "id": fork_id,
        "title": title,
        "tags": dict(tags),
        "created_at": format_us(now_us),
        "updated_at": format_us(now_us),
        "forked_from_conversation_id": source_id,
        "forked_from_event_id": from_event_id,
    }
    return _set(meta, values | ({"metrics": None} if reset_metrics else {}))


def _set(kept: RawObject, values: Mapping[str, Any]) -> RawObject:
    return kept.with_values({name: orjson.dumps(value) for name, value in values.items()})
