from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model import secrets
from app.model.secrets import MASK, mask_secrets, mask_shown, mask_text

TOKEN = f"gAAAA{'b' * 40}="

SECRETS: list[dict[str, Any]] = [
    {"api_key": "s"},
    {"apiKey": "s"},
    {"API-KEY": "s"},
    {"openai_api_key": "s"},
    {"aws_access_key_id": "s"},
    {"aws_secret_access_key": "s"},
    {"aws_session_token": "s"},
    {"password": "s"},
    {"Authorization": "s"},
    {"cookie": "s"},
    {"client_secret": "s"},
    {"access_token": "s"},
    {"refresh_token": "s"},
    {"env": {"ANY": "s", "NUMBER": 1, "ON": True}},
    {"headers": {"X-Any": "s"}},
    {"extra_headers": {"X-Any": "s"}},
    {"secrets": {"NAME": "s"}},
    {"secrets": {"NAME": {"value": "s", "kind": "StaticSecret"}}},
    {"secret_sources": {"NAME": {"value": "s", "headers": {"a": "s"}, "kind": "LookupSecret"}}},
    *({name: "s"} for name in ("authToken", "accessToken", "clientSecret", "secretKey", "apiToken", "refreshToken")),
    *(
        {name: "s"}
        for name in ("authtoken", "api_token_v2", "X-Api-Key-Id", "secret_value", "token_value", "api_key_2")
    ),
    *({name: {"X-Any": "s"}} for name in ("Headers", "httpHeaders", "default_headers", "basic_auth", "clientSecrets")),
    *({name: {"ANY": "s", "NUMBER": 1}} for name in ("acp_env", "acpEnv", "envVars", "environment_variables", "ENV")),
    {"env": [{"name": "ANY", "value": "s"}]},
    *({"env": {name: "s"}} for name in ("description", "kind", "type", "strategy")),
    {"headers": {"description": "s"}},
    {"secrets": {"description": "s"}},
    {"secrets": {"NAME": {"description": "s"}}},
    {"auth": {"strategy": "header", "headers": {"type": "s"}}},
    {"token": ["s"]},
    {"password": {"value": "s", "kind": "s"}},
    {"api_keys": ["s", {"a": ["s"]}]},
    *({name: ["s"]} for name in ("tokens", "passwords", "credentials", "session_api_keys", "cookies")),
    {"properties": {"password": {"value": "s"}}},
    {"mcpServers": {"token": "s", "search": {"url": "https://s@example/a", "env": {"A": "s"}}}},
    {"anything": "gAAAAs"},
    {"anything": f"Bearer {TOKEN}"},
    {"anything": [f"--k={TOKEN}", f"https://example/{TOKEN}"]},
    {"url": "https://user:s@example/a"},
    {"url": "https://s@example/a"},
]


def leaves(value: Any) -> set[object]:
    if isinstance(value, dict):
        return {leaf for item in value.values() for leaf in leaves(item)}
    if isinstance(value, list):
        return {leaf for item in value for leaf in leaves(item)}
    return {value}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(secret: dict[str, Any]) -> None:
    kept = {"StaticSecret", "LookupSecret", "header", f"https://{MASK}@example/a"}
    kept |= {text.replace(TOKEN, MASK) for text in (f"Bearer {TOKEN}", f"--k={TOKEN}", f"https://example/{TOKEN}")}
    for value in (secret, {"a": [{"b": secret}]}, [secret]):
        assert leaves(mask_secrets(value)) <= {MASK, *kept}


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        1.5,
        True,
        "text",
        "a gAAAA in the middle",
        "somebody@example.org",
        "https://example.org/@somebody?a=b@c",
        {"api_key": None, "token": "", "key": 5},
        {"max_tokens": 5, "tokenizer": "cl100k", "keyboard": "qwerty", "author": "me", "monkey": "yes"},
        {"prompt_tokens": 3, "session_id": None, "keys": ["a"]},
        {"max_output_tokens": {"a": 5}, "tokens": [1, 2.5, None, True], "keywords": ["a"], "custom_tokenizer": "a/b"},
        {"accumulated_token_usage": {"model": "a", "prompt_tokens": 3}, "token_usages": [{"response_id": "a"}]},
        {"authors": ["me"], "environment_name": "a", "oauth": {"scopes": ["a"]}, "author": {"name": "me"}},
        {"acp_file_secrets": [{"secret_name": "A", "filename": "auth.json", "env_var": "A", "env_points_to": "dir"}]},
        {
            "mcpServers": {
                "my-auth": {"command": "npx", "args": ["a"]},
                "key": {"url": "https://example/", "type": "http"},
            }
        },
        {
            "type": "object",
            "properties": {"password": {"type": "string"}, "auth": {"$ref": "#/$defs/Token"}},
            "$defs": {"Token": {"type": "object", "properties": {"env": {"type": "object", "description": "of it"}}}},
        },
        {"image_urls": ["data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAgAAAAIACAYAAADzzzzzzzzzzzzz"]},
        {"url": "https://example.org/path?page=2#top"},
    ],
)
def test_what_is_no_secret_is_left_alone(value: object) -> None:
    assert mask_secrets(value) == value


def test_a_secret_keeps_its_place_and_its_description() -> None:
    secret = {"kind": "LookupSecret", "description": "for the build", "url": "https://x/", "headers": {"A": "s"}}
    masked = mask_secrets({"secret_sources": {"NAME": secret}})
    shown = {"kind": "LookupSecret", "description": "for the build", "url": MASK, "headers": {"A": MASK}}
    assert masked == {"secret_sources": {"NAME": shown}}


def test_a_login_to_an_mcp_server_stays_readable() -> None:
    login = {
        "strategy": "oauth2",
        "authentication": {"type": "oauth", "client_auth_method": "client_secret_post", "client_secret": "s"},
        "state": {"tokens": {"access_token": "s", "expires_in": 5}, "token_expires_at": 5.5},
    }
    authentication = {"type": "oauth", "client_auth_method": "client_secret_post", "client_secret": MASK}
    state = {"tokens": {"access_token": MASK, "expires_in": 5}, "token_expires_at": 5.5}
    assert mask_secrets({"auth": login}) == {"auth": login | {"authentication": authentication, "state": state}}


def test_an_absent_secret_stays_absent() -> None:
    assert mask_secrets({"env": {"A": None}, "secrets": None, "headers": {}}) == {
        "env": {"A": None},
        "secrets": None,
        "headers": {},
    }


def test_masking_twice_changes_nothing() -> None:
    once = mask_secrets([dict(secret) for secret in SECRETS])
    assert mask_secrets(once) == once


COMMANDS: list[tuple[object, object]] = [
    (["npx", "--token", "x", "a"], ["npx", "--token", MASK, "a"]),
    (["--api-key=x", "--port", "80"], [f"--api-key={MASK}", "--port", "80"]),
    (["run", "-e", "GITHUB_TOKEN=x", "image"], ["run", "-e", f"GITHUB_TOKEN={MASK}", "image"]),
    (["-H", "Authorization: Bearer x"], ["-H", f"Authorization: {MASK}"]),
    (["sh", "-c", "serve --password x --port 1"], ["sh", "-c", f"serve --password {MASK} --port 1"]),
    (["--token", "--verbose"], ["--token", "--verbose"]),
    (["--token", "${TOKEN}", "--max-tokens", "5"], ["--token", "${TOKEN}", "--max-tokens", "5"]),
    (["--no-token", "a", "--keyboard", "b"], ["--no-token", "a", "--keyboard", "b"]),
    ("curl -H 'Authorization: Bearer x' --data y", f"curl -H 'Authorization: {MASK}' --data y"),
    ("API_KEY=x TOKEN='y z' run --secret=w --user me", f"API_KEY={MASK} TOKEN={MASK} run --secret={MASK} --user me"),
    ("run --token $TOKEN --key-file", "run --token $TOKEN --key-file"),
    (["-u", "me:x", "--user", "a:y"], ["-u", f"me:{MASK}", "--user", f"a:{MASK}"]),
    (["run", "-u", "1000:1000", "--user=me:x"], ["run", "-u", "1000:1000", f"--user=me:{MASK}"]),
    (
        "curl -u me:x --proxy-user 'a:y' --user $LOGIN -u b -U c:z",
        f"curl -u me:{MASK} --proxy-user a:{MASK} --user $LOGIN -u b -U c:{MASK}",
    ),
]


@pytest.mark.parametrize(("given", "shown"), COMMANDS)
@pytest.mark.parametrize("name", ["args", "command", "acp_command"])
def test_values_of_credentials_in_command_lines_are_masked(given: object, shown: object, name: str) -> None:
    for around in (lambda it: {"mcp_config": {"mcpServers": {"a": {name: it}}}}, lambda it: {"hooks": [{name: it}]}):
        assert mask_shown(around(copy.deepcopy(given))) == around(shown)
        assert mask_shown(around(copy.deepcopy(shown))) == around(shown)


def test_text_that_is_no_command_line_is_left_alone() -> None:
    value = {"skills": ["--token", "x", "password: y"], "note": "--token x", "arguments": {"text": "--token x"}}
    assert mask_shown(copy.deepcopy(value)) == value


@settings(deadline=None)
@given(st.lists(st.sampled_from(["gAAAA", "gAAAAA", "x" * 20, "==", "/", "+", " ", "é", "g", "A", "-_"]), max_size=12))
def test_tokens_are_found_as_by_the_pattern_alone(parts: list[str]) -> None:
    text = "".join(parts)
    assert mask_text(text) == secrets._FERNET_TOKEN.sub(MASK, text)
