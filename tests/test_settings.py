"""Settings come from CONVSTORE_*, and one also from the key that agent-server has; from no other variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_variable_without_the_prefix_is_somebody_elses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Settings(store=tmp_path)
    monkeypatch.setenv(name.upper(), "7")
    assert Settings(store=tmp_path) == without


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"CONVSTORE_SECRET_KEY": "ours"}, "ours"),
        ({"OH_SECRET_KEY": "theirs"}, "theirs"),
        ({"SECRET_KEY": "a web framework's", "OH_SECRET_KEY": "theirs", "CONVSTORE_SECRET_KEY": "ours"}, "ours"),
    ],
)
def test_the_key_that_encrypts_is_ours_or_else_agent_servers(
    environment: dict[str, str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings(store=tmp_path).secret_key == SecretStr(key)
    assert Settings(store=tmp_path, secret_key=SecretStr("given")).secret_key == SecretStr("given")
