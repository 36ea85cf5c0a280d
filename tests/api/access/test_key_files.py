"""The files that hold keys, and their changes while a server runs."""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.api.access.key_files import KeyFiles, load_keys, load_read_keys
from app.api.access.keys import Keys
from app.api.app import create_app
from app.api.headers import API_KEY
from app.errors import InvalidSettings
from tests.conftest import PACKAGE

ONE, TWO, READ = "first-key-0123456789", "second-key-0123456789", "read-key-0123456789"
COUNT = "/api/conversations/count"


def test_a_key_of_256_bits_is_made_once_in_a_file_of_its_owner(root: Path) -> None:
    settings = Settings(store=root)
    [key], made = load_keys(settings)
    assert (made, len(key)) == (True, 43)
    assert stat.S_IMODE(settings.key_path.stat().st_mode) == 0o600
    assert load_keys(settings) == ([key], False)


def test_a_key_is_made_in_a_store_that_has_no_index_yet(tmp_path: Path) -> None:
    [key], made = load_keys(Settings(store=tmp_path))
    assert (made, (tmp_path / ".convstore" / "api-key").read_text()) == (True, f"{key}\n")


def test_the_keys_of_a_file_are_taken_from_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# old\n{ONE}\n\n  # new, from June on\n{TWO}\r\n")
    assert load_keys(Settings(store=root, api_key_file=tmp_path / "keys")) == ([ONE, TWO], False)


def test_a_key_that_is_set_wins_over_the_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(ONE)
    asked = {"store": root, "api_key": "set", "api_key_file": tmp_path / "keys"}
    assert load_keys(Settings.model_validate(asked)) == (["set"], False)


def test_an_empty_key_file_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(InvalidSettings, match="is empty"):
        load_keys(Settings(store=root, api_key_file=tmp_path / "keys"))


def test_a_key_file_that_cannot_be_made_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="cannot be used"):
        load_keys(Settings(store=root, api_key_file=tmp_path / "file" / "key"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_a_loopback_address_keys_can_be_off(root: Path, host: str) -> None:
    assert load_keys(Settings(store=root, host=host, no_auth=True)) == ([], False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("too-short-abcde", "the key in line 2 of {path} has 15 characters; a key needs at least 16"),
        ("two-words-in-one line", "line 2 of the key file {path} is not a key"),
        ("a-key-with-an-umlaut-ü", "line 2 of the key file {path} is not a key"),
        ("a-key-with-a-bell-\a", "line 2 of the key file {path} is not a key"),
    ],
)
def test_a_line_that_is_no_good_key_is_refused_and_not_shown(root: Path, line: str, told: str) -> None:
    path = root / "keys"
    path.write_text(f"# keys\n{line}\n")
    for settings, load in (
        (Settings(store=root, api_key_file=path), load_keys),
        (Settings(store=root, read_keys_file=path), load_read_keys),
    ):
        with pytest.raises(InvalidSettings) as refused:
            load(settings)
        assert told.format(path=path) in str(refused.value)
        assert line not in str(refused.value)


def test_read_only_keys_come_from_a_setting_or_a_file(root: Path) -> None:
    assert load_read_keys(Settings(store=root)) == []
    (root / ".convstore" / "api-key-read").write_text(f"{READ}\n")
    assert load_read_keys(Settings(store=root)) == [READ]
    assert load_read_keys(Settings.model_validate({"store": root, "read_keys": "a,b"})) == ["a", "b"]
    assert load_read_keys(Settings(store=root, no_auth=True)) == []
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_read_keys(Settings(store=root, read_keys_file=root / "missing"))


def test_a_short_key_in_a_setting_is_warned_of_and_not_shown(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_keys(Settings.model_validate({"store": root, "api_key": f"{ONE},12345678"}))
    told = "key 2 in CONVSTORE_API_KEY has 8 characters and can be guessed; use 16 or more"
    assert caplog.messages == [told]


def mount(directory: Path, name: str, text: str) -> None:
    """Change a mounted secret as the kubelet does: a link to a directory is exchanged for a link to a new one."""
    fresh = directory / f"..{name}"
    fresh.mkdir(parents=True)
    (fresh / "keys").write_text(text)
    (directory / "..data_tmp").symlink_to(fresh.name)
    (directory / "..data_tmp").rename(directory / "..data")
    if not (directory / "keys").exists():
        (directory / "keys").symlink_to("..data/keys")


async def test_a_running_server_follows_a_mounted_secret(root: Path, tmp_path: Path) -> None:
    mount(tmp_path / "secret", "1", f"{ONE}\n")
    application = create_app(Settings(store=root, api_key_file=tmp_path / "secret" / "keys"))
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client,
    ):

        async def ask(key: str) -> int:
            return (await client.get(COUNT, headers={API_KEY: key})).status_code

        assert [await ask(ONE), await ask(TWO)] == [200, 401]
        mount(tmp_path / "secret", "2", f"{TWO}\n")
        async with asyncio.timeout(60):
            while await ask(TWO) != 200:
                await asyncio.sleep(0.05)
        assert await ask(ONE) == 401


def replaced(settings: Settings, caplog: pytest.LogCaptureFixture) -> tuple[Keys, KeyFiles]:
    caplog.set_level(logging.INFO, f"{PACKAGE}.api.access.key_files")
    keys = Keys(load_keys(settings)[0], settings.state_dir, load_read_keys(settings))
    return keys, KeyFiles(settings, keys)


def test_two_keys_overlap_and_a_removed_one_ends(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "keys"
    path.write_text(ONE)
    keys, files = replaced(Settings(store=root, api_key_file=path), caplog)
    path.write_text(f"{ONE}\n{TWO}\n")
    files.read()
    assert [keys.find(one.encode()) is not None for one in (ONE, TWO)] == [True, True]
    path.write_text(TWO)
    files.read()
    assert [keys.find(one.encode()) is not None for one in (ONE, TWO)] == [False, True]
    log = "\n".join(caplog.messages)
    assert "the key files were read again; the keys are now: 1 full (" in log
    assert ONE not in log
    assert TWO not in log


@pytest.mark.parametrize("text", ["", "short", None])
def test_a_bad_change_leaves_the_earlier_keys(root: Path, caplog: pytest.LogCaptureFixture, text: str | None) -> None:
    path = root / "keys"
    path.write_text(ONE)
    keys, files = replaced(Settings(store=root, api_key_file=path), caplog)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    files.read()
    assert keys.find(ONE.encode()) is not None
    assert "the earlier keys stay valid" in caplog.text
    assert not path.exists() or path.read_text() == text
