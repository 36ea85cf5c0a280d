"""Signing in to the page: one-time login codes, and the tokens that a browser sends in place of the key.

There is no cookie: a browser sends a cookie of 127.0.0.1:8000 to every other port of 127.0.0.1 too, where other
programs serve pages.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar

CODE_VALID_S = 60
TOKEN_VALID_S = 12 * 60 * 60

_LOGINS = "logins"
_ENDED = "ended-"
_match_name = re.compile(rf"(?:{_ENDED})?[0-9a-f]{{64}}").fullmatch


def make_code(state_dir: Path, valid_s: float = CODE_VALID_S) -> str:
    """Return a new login code of 128 bits, valid once and for `valid_s` seconds.

    It is stored as a file named by its hash, so that any worker of the server can check it.

    Raises:
        OSError: the file cannot be written.
    """
    logins = state_dir / _LOGINS
    logins.mkdir(mode=0o700, exist_ok=True)
    _remove_expired(logins)
    code = secrets.token_urlsafe(16)
    _touch_until(logins / _hash(code), time.time() + valid_s)
    return code


def spend_code(state_dir: Path, code: str) -> bool:
    """Use up a login code, and return whether it was valid. Each code succeeds only once."""
    path = state_dir / _LOGINS / _hash(code)
    try:
        expires = path.stat().st_mtime
        path.unlink()
    except OSError:  # there is no such code, or the directory cannot be used
        return False
    return time.time() < expires


class Signer(Protocol):
    """A key that signs tokens."""

    @property
    def secret(self) -> str:
        """The text of the key."""


K = TypeVar("K", bound=Signer)


class Tokens:
    """Makes and checks tokens: `expiry.nonce.signature`, signed with a key of the server.

    A token may do what its key may. It ends after 12 hours, when its key is removed, or when its user signs out.
    """

    def __init__(self, state_dir: Path) -> None:
        self._logins = state_dir / _LOGINS

    def make(self, key: Signer) -> tuple[str, int]:
        """Return (a new token that may do what the key may, the second since 1970 at which it ends)."""
        expires = int(time.time()) + TOKEN_VALID_S
        claim = f"{expires}.{secrets.token_urlsafe(12)}"
        return f"{claim}.{_sign(key, claim)}", expires

    def find_signer(self, given: bytes, keys: Iterable[K]) -> K | None:
        """Return the key that signed this token; None if it is no token of these keys, or has ended."""
        token = given.decode("latin-1")
        claim, _, signature = token.rpartition(".")
        expires, _, nonce = claim.partition(".")
        if not (expires.isascii() and expires.isdigit() and nonce):
            return None
        signers = [key for key in keys if hmac.compare_digest(signature.encode(), _sign(key, claim).encode())]
        if not signers or time.time() >= int(expires) or (self._logins / _ended_name(nonce)).exists():
            return None
        return signers[0]

    def end(self, given: bytes) -> None:
        """End a token that is valid, for all workers of the server."""
        expires, nonce, _ = given.decode("latin-1").split(".")
        self._logins.mkdir(mode=0o700, exist_ok=True)
        _remove_expired(self._logins)
        _touch_until(self._logins / _ended_name(nonce), int(expires))


def _hash(code: str) -> str:
    return sha256(code.encode()).hexdigest()


def _sign(key: Signer, claim: str) -> str:
    signing = sha256(b"convstore token " + key.secret.encode()).digest()
    return hmac.new(signing, claim.encode(), sha256).hexdigest()


def _ended_name(nonce: str) -> str:
    return f"{_ENDED}{_hash(nonce)}"


def _touch_until(path: Path, expires: float) -> None:
    """Make an empty file that only this user can read. Its modification time is the time at which it expires."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(fd, (expires, expires))
    finally:
        os.close(fd)


def _remove_expired(logins: Path) -> None:
    oldest = time.time() - CODE_VALID_S  # a file that is just being made does not have its time of expiry yet
    for path in logins.iterdir():
        if not _match_name(path.name):
            continue
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
