"""The two files of a new conversation or of a fork.

The fields of meta.json come from agent-server 1.58's StoredConversation (models.py, and openhands-sdk's
conversation/request.py), the fields of base_state.json from its ConversationState.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from .ids import ConversationId, dashed, find_conversation_id
from .json_splice import RawObject
from .secrets import MASK, mask_secrets
from .times import format_us
from .validation import check_tags

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
_NOT_IN_META = frozenset(
    {
        "agent",
        "agent_settings",
        "agent_profile_id",
        "title",
        "conversation_runtime",
        "container",
        "agent_launch_additions",
    }
)
_IN_BOTH = ("max_iterations", "stuck_detection", "confirmation_policy", "security_analyzer", "hook_config")


def mask_all(_secret: str) -> str:
    """Return the mask for any secret, as agent-server does if it has no key."""
    return MASK


def compose_new(
    request: Mapping[str, Any], conversation_id: ConversationId, now_us: int, seal: Seal
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return meta.json and base_state.json for a StartConversationRequest.

    Raises:
        InvalidConversation: agent-server would refuse a value in the request.
    """
    from .agent_server.conversation_request import read_request  # noqa: PLC0415 - slow, and only needed here

    now = format_us(now_us)
    request = read_request(request, now)
    agent, workspace = request["agent"], request["workspace"] | {"kind": "LocalWorkspace"}
    tags = check_tags(request.get("tags") or {})
    parent = find_conversation_id(request.get("parent_conversation_id") or "")
    given = {name: value for name, value in request.items() if name not in _NOT_IN_META and value is not None}
    meta = _META_DEFAULTS | given
    meta |= {
        "workspace": workspace,
        "parent_conversation_id": parent,
        "tags": tags,
        "id": conversation_id,
        "title": request.get("title"),
        "metrics": None,
        "created_at": now,
        "updated_at": now,
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
    return meta, state


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
