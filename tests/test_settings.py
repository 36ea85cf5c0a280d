"""Settings come from CONVSTORE_*, and one also from the key that agent-server has; from no other variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.errors import InvalidSettings
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


def test_a_settings_file_comes_after_arguments_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.env"
    file.write_text(f"# a comment\nCONVSTORE_STORE={tmp_path}\nCONVSTORE_PORT=1\nCONVSTORE_WORKERS=2\nexport OTHER=x\n")
    monkeypatch.setenv("CONVSTORE_ENV_FILE", str(file))
    monkeypatch.setenv("CONVSTORE_WORKERS", "3")
    settings = Settings(port=4)
    assert (settings.store, settings.port, settings.workers) == (tmp_path, 4, 3)
    assert Settings().port == 1


def test_a_settings_file_may_be_missing_only_if_its_name_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "missing.env"
    assert Settings(store=tmp_path, env_file=f"-{missing}").port == 8000
    with pytest.raises(InvalidSettings, match="is not a file; write it, or put - in front"):
        Settings(store=tmp_path, env_file=str(missing))


def test_the_log_level_is_read_again_from_the_settings_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.env"
    file.write_text("CONVSTORE_LOG_LEVEL=debug\n")
    settings = Settings(store=tmp_path, env_file=str(file))
    assert "CONVSTORE_LOG_LEVEL" not in settings.as_environment()
    file.write_text("CONVSTORE_LOG_LEVEL=error\n")
    assert (settings.log_level, settings.read_log_level()) == ("debug", "error")
    file.write_text("")
    assert settings.read_log_level() == "info"
    monkeypatch.setenv("CONVSTORE_LOG_LEVEL", "warning")
    assert (settings.read_log_level(), settings.as_environment()["CONVSTORE_LOG_LEVEL"]) == ("warning", "debug")
    assert Settings(store=tmp_path, log_level="error").read_log_level() == "error"
