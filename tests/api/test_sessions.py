"""Login codes and the tokens of the page."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api.access.keys import Key, Right
from app.api.sessions import TOKEN_VALID_S, Tokens, make_code, spend_code

ONE = Key("a-key", Right.FULL)
READING = Key("another-key", Right.READ)


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
    tokens = Tokens(tmp_path)
    token, expires_at = tokens.make(ONE)
    assert tokens.find_signer(token.encode(), [ONE]) is ONE
    assert abs(expires_at - time.time() - TOKEN_VALID_S) < 5
    at(TOKEN_VALID_S + 1)
    assert tokens.find_signer(token.encode(), [ONE]) is None


def test_a_token_ends_with_its_key_and_may_do_what_its_key_may(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    token = tokens.make(READING)[0].encode()
    assert tokens.find_signer(token, [ONE]) is None
    assert tokens.find_signer(token, [ONE, READING]) is READING


def test_a_token_that_was_ended_is_refused_by_every_worker(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    token, other = tokens.make(ONE)[0], tokens.make(ONE)[0]
    tokens.end(token.encode())
    worker = Tokens(tmp_path)
    assert [worker.find_signer(one.encode(), [ONE]) for one in (token, other)] == [None, ONE]


@pytest.mark.parametrize("change", ["later", "signature", "nonce"])
def test_a_changed_token_is_refused(tmp_path: Path, change: str) -> None:
    tokens = Tokens(tmp_path)
    expires, nonce, signature = tokens.make(ONE)[0].split(".")
    changed = {
        "later": f"{int(expires) + 1}.{nonce}.{signature}",
        "signature": f"{expires}.{nonce}.{'0' * 64}",
        "nonce": f"{expires}.x{nonce}.{signature}",
    }[change]
    assert tokens.find_signer(changed.encode(), [ONE]) is None


@pytest.mark.parametrize(
    "given", [b"", b".", b"..", b"1.a.", b"\xff.\xff.\xff", b"x" * 5000, b"-1.a.b", "१.a.b".encode()]
)
def test_what_is_no_token_is_refused(tmp_path: Path, given: bytes) -> None:
    assert Tokens(tmp_path).find_signer(given, [ONE]) is None
    assert Tokens(tmp_path).find_signer(given, []) is None


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
