"""Login codes and the tokens of the page."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api.sessions import TOKEN_VALID_S, Tokens, make_code, spend_code


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock to so many seconds from now."""
    now = time.time()

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr("app.api.sessions.time.time", lambda: now + seconds)

    return set_clock


def test_a_code_works_once(tmp_path: Path) -> None:
    code = make_code(tmp_path)
    assert [spend_code(tmp_path, code), spend_code(tmp_path, code)] == [True, False]
    assert not spend_code(tmp_path, "another")


def test_of_many_that_spend_a_code_at_once_one_succeeds(tmp_path: Path) -> None:
    code = make_code(tmp_path)
    barrier = threading.Barrier(8)
    spent: list[bool] = []

    def spend() -> None:
        barrier.wait()
        spent.append(spend_code(tmp_path, code))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(spent) == [False] * 7 + [True]


def test_a_code_ends_after_a_minute_and_its_file_is_removed(tmp_path: Path, at: Callable[[float], None]) -> None:
    code = make_code(tmp_path)
    at(61)
    assert not spend_code(tmp_path, code)
    make_code(tmp_path)
    at(200)
    later = make_code(tmp_path)
    assert len(list((tmp_path / "logins").iterdir())) == 1
    assert spend_code(tmp_path, later)


def test_a_code_is_kept_as_a_hash_for_this_user_alone(tmp_path: Path) -> None:
    code = make_code(tmp_path)
    [kept] = (tmp_path / "logins").iterdir()
    assert code not in kept.name
    assert kept.read_bytes() == b""
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_token_is_admitted_until_it_ends(tmp_path: Path, at: Callable[[float], None]) -> None:
    tokens = Tokens(["a-key"], tmp_path)
    token, expires_at = tokens.make()
    assert tokens.admit(token.encode())
    assert abs(expires_at - time.time() - TOKEN_VALID_S) < 5
    at(TOKEN_VALID_S + 1)
    assert not tokens.admit(token.encode())


def test_another_key_ends_all_tokens(tmp_path: Path) -> None:
    token, _ = Tokens(["a-key"], tmp_path).make()
    assert not Tokens(["b-key"], tmp_path).admit(token.encode())
    assert Tokens(["b-key", "a-key"], tmp_path).admit(token.encode())


def test_a_token_that_was_ended_is_refused_by_every_worker(tmp_path: Path) -> None:
    tokens = Tokens(["a-key"], tmp_path)
    token, other = tokens.make()[0], tokens.make()[0]
    tokens.end(token.encode())
    worker = Tokens(["a-key"], tmp_path)
    assert [worker.admit(token.encode()), worker.admit(other.encode())] == [False, True]


@pytest.mark.parametrize("change", ["later", "signature", "nonce"])
def test_a_changed_token_is_refused(tmp_path: Path, change: str) -> None:
    tokens = Tokens(["a-key"], tmp_path)
    expires, nonce, signature = tokens.make()[0].split(".")
    changed = {
        "later": f"{int(expires) + 1}.{nonce}.{signature}",
        "signature": f"{expires}.{nonce}.{'0' * 64}",
        "nonce": f"{expires}.x{nonce}.{signature}",
    }[change]
    assert not tokens.admit(changed.encode())


@pytest.mark.parametrize(
    "given", [b"", b".", b"..", b"1.a.", b"\xff.\xff.\xff", b"x" * 5000, b"-1.a.b", "१.a.b".encode()]
)
def test_what_is_no_token_is_refused(tmp_path: Path, given: bytes) -> None:
    assert not Tokens(["a-key"], tmp_path).admit(given)
    assert not Tokens([], tmp_path).admit(given)


def test_only_files_of_codes_and_tokens_are_removed(tmp_path: Path) -> None:
    (tmp_path / "logins" / "a-directory").mkdir(parents=True)
    other = tmp_path / "logins" / "thesis.txt"
    other.write_text("mine")
    os.utime(other, (0, 0))
    assert spend_code(tmp_path, make_code(tmp_path))
    assert other.exists()


def test_no_code_is_valid_where_the_directory_of_logins_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "logins").touch()
    assert not spend_code(tmp_path, "a-code")
