"""Which shape agent-server's clients expect of a field. One row that has another breaks the whole page for them.

Source: openhands-agent-server 1.58, models.py, `_ConversationInfoBase`; its nested models are not followed further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

TAG_VALUE_MAX = 256
"""Characters; see openhands-sdk 1.58, conversation/types.py."""

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
    """Return the names of those fields of a file that clients would not read."""
    wrong = [name for name, fits in _NEVER_NULL.items() if name in fields and not fits(fields[name])]
    return wrong + [name for name, fits in _OR_NULL.items() if fields.get(name) is not None and not fits(fields[name])]
