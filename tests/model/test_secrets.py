from __future__ import annotations

from typing import Any

import pytest

from app.model.secrets import MASK, mask_secrets

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
    {"anything": "gAAAAs"},
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
    kept = {"StaticSecret", "LookupSecret", f"https://{MASK}@example/a"}
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


def test_an_absent_secret_stays_absent() -> None:
    assert mask_secrets({"env": {"A": None}, "secrets": None, "headers": {}}) == {
        "env": {"A": None},
        "secrets": None,
        "headers": {},
    }


def test_masking_twice_changes_nothing() -> None:
    once = mask_secrets([dict(secret) for secret in SECRETS])
    assert mask_secrets(once) == once
