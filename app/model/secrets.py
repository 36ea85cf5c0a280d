"""Masking secrets in a conversation's files, so that no answer contains them.

Secrets are: fields that openhands-sdk 1.58 treats as such (llm.LLM_SECRET_FIELDS, mcp.config, secret.secrets), values
with similar names in any spelling, and Fernet tokens and logins in URLs anywhere. Messages, titles and tags are the
user's own text and are not masked by name; events are masked with `mask_credentials`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MASK = "**********"
"""Replaces a secret in answers. The SDK reads it as "not set"."""

_MASKED_TYPES = (str, dict, list)
_FERNET_PREFIX = "gAAAA"
_FERNET_TOKEN = re.compile(r"(?:\AgAAAA|(?<![A-Za-z0-9+])gAAAA(?=[A-Za-z0-9_-]{20}))[A-Za-z0-9_-]*={0,2}")
"""Does not match after a letter or digit, because the base64 of most PNG images contains "gAAAA"."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_KEYED = r"(?:api|access|auth|bearer|client|private|refresh|secret|session)[_-]?"
_SECRET_NAME = re.compile(
    rf"(?:.*[_-])?(?:(?:{_KEYED})?(?:key|tokens?|secrets?)|{_KEYED}keys|access[_-]?key[_-]?id|pass(?:wd|words?|phrases?)"
    r"|authorizations?|credentials?|cookies?|session(?:[_-]?id)?)(?:[_-](?:value|id|v?\d+))?",
    re.IGNORECASE,
)
_MAP_OF_SECRETS = re.compile(r"(?:.*[_-])?(?:env(?:ironment)?(?:[_-]?(?:vars|variables))?|headers)", re.IGNORECASE)
_SOURCES_OF_SECRETS = re.compile(r"(?:.*[_-])?(?:secrets|secret[_-]?sources)", re.IGNORECASE)
_AUTH = re.compile(r"(?:.*[_-])?auth", re.IGNORECASE)
_KINDS = frozenset({"kind", "type", "strategy"})
_OPEN_IN_A_SOURCE = _KINDS | {"description"}
_OPEN_VALUES = frozenset({"oauth", "none", "client_secret_post", "client_secret_basic", "private_key_jwt"})
"""The login methods of MCP servers, the only values that clients accept there (openhands-sdk 1.58, mcp.config)."""

_NO_SECRETS = frozenset({"acp_file_secrets"})
"""Says where an ACPAgent's secrets are put, and contains none (openhands-sdk 1.58, ACPFileSecretSpec)."""

_MAPS_OF_NAMES = frozenset({"properties", "$defs", "definitions", "mcpServers", "mcp_config"})
_IN_SCHEMAS_AND_SERVERS = frozenset({"type", "$ref", "anyOf", "allOf", "oneOf", "enum", "const", "command", "url"})
_URL_PARAMETER = re.compile(
    r"([?&][^=?&#\s]{0,64}?(?:key|token|secret|password|authorization|credential|session)[^=?&#\s]{0,64}=)[^&#\s]+",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"(?<=://)[^/?#\s@]+@")

_CREDENTIALS = frozenset(
    {"api_key", "llm_api_key", "session_api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)


def mask_credentials(value: object) -> object:
    """Replace values with a credential's name, and all Fernet tokens, by `MASK`; return the value.

    For texts by users and agents, in which "token" and "key" are ordinary words. Dictionaries and lists change in
    place.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, _MASKED_TYPES):
                value[name] = MASK if name in _CREDENTIALS and item else mask_credentials(item)
    elif isinstance(value, list):
        value[:] = [mask_credentials(item) if isinstance(item, _MASKED_TYPES) else item for item in value]
    elif isinstance(value, str):
        return _mask_tokens(value)
    return value


def mask_secrets(value: object) -> object:
    """Replace every secret in `value` by `MASK` and return it. Dictionaries and lists change in place."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, _MASKED_TYPES):
                value[name] = _mask_under(name)(item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, _MASKED_TYPES):
                value[place] = mask_secrets(item)
    elif isinstance(value, str):
        return mask_text(value)
    return value


@lru_cache(maxsize=4096)
def _mask_under(name: str) -> Callable[[object], object]:
    """Return the function that masks a value with this name. Cached, because the same few hundred names recur."""
    if name in _MAPS_OF_NAMES:
        return _mask_each
    if name in _NO_SECRETS:
        return mask_secrets
    spelled = _HUMP.sub("_", name)
    if _MAP_OF_SECRETS.fullmatch(spelled):
        return _mask_all
    if _SOURCES_OF_SECRETS.fullmatch(spelled):
        return _mask_sources
    if _AUTH.fullmatch(spelled):
        return _mask_login
    return _mask_texts if _SECRET_NAME.fullmatch(spelled) else mask_secrets


def _mask_each(value: object) -> object:
    """Mask values by name, but treat JSON schemas and MCP servers as objects without secret names."""
    if not isinstance(value, dict):
        return mask_secrets(value)
    for name, item in value.items():
        named = not isinstance(item, dict) or _IN_SCHEMAS_AND_SERVERS.isdisjoint(item)
        value[name] = _mask_under(name)(item) if named else mask_secrets(item)
    return value


def _mask_texts(value: object) -> object:
    """Mask all texts, but not numbers, which are counts and times."""
    if isinstance(value, dict):
        return {name: _mask_texts(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_texts(item) for item in value]
    return MASK if value and isinstance(value, str) and value not in _OPEN_VALUES else value


def _mask_all(value: object) -> object:
    if isinstance(value, dict):
        return {name: _mask_all(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_all(item) for item in value]
    return value if value is None or value in _OPEN_VALUES else MASK


def _mask_sources(value: object) -> object:
    if isinstance(value, dict):
        return {name: _mask_source(item) for name, item in value.items()}
    return [_mask_source(item) for item in value] if isinstance(value, list) else _mask_all(value)


def _mask_source(value: object) -> object:
    """Mask a SecretSource except for its kind and description."""
    if not isinstance(value, dict) or "kind" not in value:
        return _mask_all(value)
    return {
        name: item if name in _OPEN_IN_A_SOURCE and isinstance(item, str) else _mask_all(item)
        for name, item in value.items()
    }


def _mask_login(value: object) -> object:
    """Mask an MCP server's login data except for the method."""
    if not isinstance(value, dict):
        return _mask_texts(value)
    return {
        name: item if name in _KINDS and isinstance(item, str) else _mask_texts(item) for name, item in value.items()
    }


def mask_text(text: str) -> str:
    """Return a text with all Fernet tokens, and logins in URLs, replaced by `MASK`."""
    text = _mask_tokens(text)
    if "://" not in text:
        return text
    return _URL_PARAMETER.sub(rf"\1{MASK}", _URL_LOGIN.sub(f"{MASK}@", text))


def _mask_tokens(text: str) -> str:
    """Replace all Fernet tokens. Only the few places where one may begin are compared with the pattern."""
    parts: list[str] = []
    end, at = 0, text.find(_FERNET_PREFIX)
    while at >= 0:
        found = _FERNET_TOKEN.match(text, at)
        if found is not None:
            parts += text[end:at], MASK
            end = found.end()
        at = text.find(_FERNET_PREFIX, at + 1 if found is None else end)
    return "".join([*parts, text[end:]]) if parts else text


_COMMAND = re.compile(r"(?:.*_)?(?:args|argv|commands?|cmd)", re.IGNORECASE)
_LOGINS = ("u", "user", "U", "proxy-user")
"""The options of curl whose value is a name, a colon and a password."""
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)")
_ASSIGNMENT = re.compile(r"(-{0,2}([A-Za-z][A-Za-z0-9_-]*)(?:=|:\s*))(.+)", re.DOTALL)
_REFERENCE = re.compile(r"\$\w+|\$\{[^}]*\}|\$\([^)]*\)")
_VALUE = r"""((?:(?:bearer|basic|token)\s+)?(?:"[^"]*"|'[^']*'|[^\s"']+))"""
_IN_COMMAND = re.compile(rf"(?<![\w-])(--?([a-z][\w-]*)(?:=|\s+(?!-))|([a-z][\w-]*)(?:=|:\s*)){_VALUE}", re.IGNORECASE)


def mask_shown(value: object) -> object:
    """Do what `mask_secrets` does, and mask the values of credentials in command lines; return the value.

    Command lines are those of MCP servers, hooks and agents: `args: ["--token", "x"]`, `--api-key=x`, `TOKEN=x`.
    They are stored as agent-server stores them, and masked where they are shown. Changes in place.
    """
    return _mask_commands(mask_secrets(value))


def _mask_commands(value: object) -> object:
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(item, _MASKED_TYPES):
                continue
            if isinstance(item, dict) or not _is_command(name):
                _mask_commands(item)
            elif isinstance(item, str):
                value[name] = _mask_command(item)
            else:
                _mask_arguments(item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                _mask_commands(item)
    return value


@lru_cache(maxsize=4096)
def _is_command(name: str) -> bool:
    return _COMMAND.fullmatch(name) is not None


def _mask_arguments(arguments: list[object]) -> None:
    """Mask the arguments that follow an option with a credential's name, or are behind it in the same argument."""
    before = ""
    for place, item in enumerate(arguments):
        if not isinstance(item, str):
            _mask_commands(item)
            before = ""
            continue
        option, assignment = _OPTION.fullmatch(item), _ASSIGNMENT.fullmatch(item)
        masked = None if option is not None else _mask_value_of(before, item)
        if masked is None and assignment is not None:
            value = _mask_value_of(assignment[2], assignment[3])
            masked = None if value is None else assignment[1] + value
        if masked is not None:
            arguments[place] = masked
        elif " " in item:  # a command line of its own, as of sh -c
            arguments[place] = _mask_command(item)
        before = "" if option is None else option[1]


def _mask_command(line: str) -> str:
    """Mask the values of credentials in a command line."""
    masked, at = "", 0
    while (found := _IN_COMMAND.search(line, at)) is not None:
        begin, end = found.span(4)
        value = _mask_value_of(found[2] or found[3], line[begin:end])
        if value is not None:
            masked += line[at:begin] + value
            at = end
        else:
            masked += line[at:begin]
            at = begin
    return masked + line[at:]


def _is_credential(name: str) -> bool:
    return not name.lower().startswith("no-") and _SECRET_NAME.fullmatch(_HUMP.sub("_", name)) is not None


def _mask_value_of(option: str, value: str) -> str | None:
    """Return the masked value of an option, or None if it has no secret. Of `--user name:password`, the name stays."""
    if _is_credential(option):
        return _mask_value(value)
    name, colon, password = value.strip("\"'").partition(":")
    return f"{name}:{_mask_value(password)}" if colon and option in _LOGINS else None


def _mask_value(value: str) -> str:
    """Return `MASK`, unless the value is a number, or refers to a variable."""
    bare = value.strip("\"'")
    return value if not bare or bare.isdecimal() or _REFERENCE.fullmatch(bare) else MASK
