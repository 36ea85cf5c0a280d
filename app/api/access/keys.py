"""The API keys of a running server, and what each of them may do."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from starlette.types import Scope

from ...errors import ReadOnlyKey
from ..headers import API_KEY, AUTHORIZATION, join_header
from ..sessions import Tokens

_API_KEY = API_KEY.lower().encode()
_AUTHORIZATION = AUTHORIZATION.lower().encode()
FINGERPRINT_DIGITS = 8


class Right(StrEnum):
    """What a key may do."""

    FULL = "full"
    READ = "read-only"


@dataclass(frozen=True)
class Key:
    """One valid key."""

    secret: str
    right: Right

    @cached_property
    def fingerprint(self) -> str:
        """The name of the key in logs: the first 8 digits of its SHA-256, which do not reveal it."""
        return sha256(self.secret.encode()).hexdigest()[:FINGERPRINT_DIGITS]


class Keys:
    """The valid keys, and the page's tokens, which are signed with the keys. Without full keys, no key is required.

    The keys may be replaced while the server runs.
    """

    def __init__(self, full: Sequence[str], state_dir: Path, read: Sequence[str] = ()) -> None:
        self.tokens = Tokens(state_dir)
        self.required = bool(full)
        self.replace(full, read)

    def replace(self, full: Sequence[str], read: Sequence[str]) -> None:
        """Accept these keys from now on, and no others. A key in both lists is a full key."""
        self.all = (*(Key(one, Right.FULL) for one in full), *(Key(one, Right.READ) for one in read if one not in full))
        self._digests = [(sha256(key.secret.encode()).digest(), key) for key in self.all]

    def find(self, given: bytes) -> Key | None:
        """Return the key that this is, or the key with which this token was signed; None if it is neither."""
        return self.find_key(given) or self.tokens.find_signer(given, self.all)

    def find_key(self, given: bytes) -> Key | None:
        """Return the key that this is, or None. The comparison takes the same time for right and wrong keys."""
        digest = sha256(given).digest()
        equal = [key for known, key in self._digests if secrets.compare_digest(digest, known)]
        return equal[0] if equal else None

    def describe(self) -> str:
        """Return the number and the fingerprints of the keys, for the log."""
        return ", ".join(
            f"{len(keys)} {right} ({' '.join(key.fingerprint for key in keys)})"
            for right in Right
            if (keys := [key for key in self.all if key.right is right])
        )


def read_given_key(scope: Scope) -> bytes:
    """Return the key or token of a request, or b"". It is in X-Session-API-Key, or in `Authorization: Bearer`."""
    given = join_header(scope, _API_KEY)
    if given:
        return given
    scheme, _, credentials = join_header(scope, _AUTHORIZATION).partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else b""


def require_full_key(scope: Scope) -> None:
    """Check that the key of an authenticated request or socket may write.

    Raises:
        ReadOnlyKey: the key may only read.
    """
    key: Key | None = scope.get("key")  # without authentication, there is no key
    if key is not None and key.right is Right.READ:
        raise ReadOnlyKey
