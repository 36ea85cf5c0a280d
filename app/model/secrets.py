"""Masking: what must not come out of a conversation's files.

The fields are those that openhands-sdk 1.58 treats as secret (llm.LLM_SECRET_FIELDS, utils.redact), and Fernet tokens
wherever they stand. What a user typed into a message, a title or a tag is the user's own text and is left alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

MASK = "**********"
"""What stands in an answer for a secret; the SDK reads it as "not set"."""

_MASKED_TYPES = (str, dict, list)
_FERNET_PREFIX = "gAAAA"
_FERNET_TOKEN = re.compile(r"gAAAA[A-Za-z0-9_-]{20,}={0,2}")
_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:api[_-]?key|access[_-]?key(?:[_-]id)?|private[_-]?key|session[_-]?key|key|token|secret|password"
    r"|passwd|authorization|credentials?|cookie|session(?:[_-]?id)?)",
    re.IGNORECASE,
)
_MAPS_OF_SECRETS = frozenset({"env", "environment", "headers", "extra_headers", "secrets", "secret_sources", "auth"})
_OPEN_IN_A_SECRET = frozenset({"kind", "type", "strategy", "description"})
_OPEN_VALUES = frozenset({"oauth"})
_URL_PARAMETER = re.compile(
    r"([?&][^=?&#\s]{0,64}?(?:key|token|secret|password|authorization|credential|session)[^=?&#\s]{0,64}=)[^&#\s]+",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"(?<=://)[^/?#\s@]+@")

_CREDENTIALS = frozenset(
    {"api_key", "llm_api_key", "session_api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)


def mask_credentials(value: object) -> object:
    """Return `value` with what stands under a credential's name, and every Fernet token, replaced by `MASK`.

    This is for what a user or an agent wrote, where "token" or "key" are words. Changed in place, as `mask_secrets`.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, _MASKED_TYPES):
                value[name] = MASK if name in _CREDENTIALS and item else mask_credentials(item)
    elif isinstance(value, list):
        value[:] = [mask_credentials(item) if isinstance(item, _MASKED_TYPES) else item for item in value]
    elif isinstance(value, str) and value.startswith(_FERNET_PREFIX):
        return MASK
    return value


def mask_secrets(value: object) -> object:
    """Return `value` with every secret replaced by `MASK`; dictionaries and lists are changed in place."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _MAPS_OF_SECRETS:
                value[name] = _mask_all(item)
            elif isinstance(item, _MASKED_TYPES):
                value[name] = _mask_named(name, item) if isinstance(item, str) else mask_secrets(item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, _MASKED_TYPES):
                value[place] = mask_secrets(item)
    elif isinstance(value, str):
        return _mask_text(value)
    return value


def _mask_named(name: str, text: str) -> str:
    return MASK if text and _names_a_secret(name) else _mask_text(text)


@lru_cache(maxsize=4096)
def _names_a_secret(name: str) -> bool:
    """Whether a text under this name is a secret; the same few hundred names come again and again."""
    return _SECRET_NAME.fullmatch(name) is not None


def _mask_all(value: object) -> object:
    if isinstance(value, dict):
        return {name: item if name in _OPEN_IN_A_SECRET else _mask_all(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_all(item) for item in value]
    return value if value is None or value in _OPEN_VALUES else MASK


def mask_text(text: str) -> str:
    """Return a text that somebody wrote with every Fernet token, and what logs in in a URL, replaced by `MASK`."""
    return _mask_urls(_FERNET_TOKEN.sub(MASK, text) if _FERNET_PREFIX in text else text)


def _mask_text(text: str) -> str:
    return MASK if text.startswith(_FERNET_PREFIX) else _mask_urls(text)


def _mask_urls(text: str) -> str:
    if "://" not in text:
        return text
    return _URL_PARAMETER.sub(rf"\1{MASK}", _URL_LOGIN.sub(f"{MASK}@", text))
