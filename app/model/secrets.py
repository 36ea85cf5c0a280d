"""Masking: what must not come out of a conversation's files.

The fields are those that openhands-sdk 1.58 treats as secret (llm.LLM_SECRET_FIELDS, utils.redact), and Fernet tokens
wherever they stand. What a user typed into a message, a title or a tag is the user's own text and is left alone.
"""

from __future__ import annotations

import re

MASK = "**********"
"""What stands in an answer for a secret; the SDK reads it as "not set"."""

_FERNET_PREFIX = "gAAAA"
_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:api[_-]?key|access[_-]?key(?:[_-]id)?|private[_-]?key|session[_-]?key|key|token|secret|password"
    r"|passwd|authorization|credentials?|cookie|session)",
    re.IGNORECASE,
)
_MAPS_OF_SECRETS = frozenset({"env", "environment", "headers", "extra_headers", "secrets"})
_OPEN_IN_A_SECRET = frozenset({"kind", "description"})
_URL_LOGIN = re.compile(r"(?<=://)[^/?#\s@]+@")


def mask_secrets(value: object) -> object:
    """Return `value` with every secret replaced by `MASK`; dictionaries and lists are changed in place."""
    if isinstance(value, str):
        return _mask_text(value)
    if isinstance(value, list):
        for i, item in enumerate(value):
            value[i] = mask_secrets(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            value[name] = _mask_field(name, item)
    return value


def _mask_field(name: str, item: object) -> object:
    if name in _MAPS_OF_SECRETS:
        return _mask_all(item)
    if name == "secret_sources" and isinstance(item, dict):
        return {source: _mask_all(secret) for source, secret in item.items()}
    if isinstance(item, str) and item and _SECRET_NAME.fullmatch(name):
        return MASK
    return mask_secrets(item)


def _mask_all(value: object) -> object:
    if isinstance(value, dict):
        return {name: item if name in _OPEN_IN_A_SECRET else _mask_all(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_all(item) for item in value]
    return None if value is None else MASK


def _mask_text(text: str) -> str:
    if text.startswith(_FERNET_PREFIX):
        return MASK
    return _URL_LOGIN.sub(f"{MASK}@", text) if "@" in text and "://" in text else text
