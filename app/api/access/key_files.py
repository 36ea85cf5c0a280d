"""The files that hold keys: one key a line. A running server reads them again when they change."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkstemp

from pydantic import SecretStr

from ...errors import InvalidSettings, is_out_of_memory
from ...exclusive_rename import rename_exclusively
from ...settings import Settings
from .keys import Keys

log = logging.getLogger(__name__)

KEY_MIN = 16
"""The least number of characters of a key in a file. Shorter keys can be guessed."""

_LOOK_EVERY_S = 1.0
_Stamp = tuple[int, int, int, int, int] | None


def load_keys(settings: Settings) -> tuple[list[str], bool]:
    """Return the full keys, and whether a key was just created. If authentication is off, there are no keys.

    Raises:
        InvalidSettings: authentication is off although other machines can reach the server, or the key file cannot
            be used.
    """
    if settings.no_auth:
        if not settings.loopback:
            raise InvalidSettings(
                f"--no-auth works only on a loopback address, not on {settings.host}; omit it, or listen on 127.0.0.1"
            )
        return [], False
    if settings.api_key:
        return _reveal("CONVSTORE_API_KEY", settings.api_key), False
    try:
        return _read_or_make(settings.key_path)
    except OSError as error:
        raise InvalidSettings(
            f"the key file {settings.key_path} cannot be used ({error.strerror}); set CONVSTORE_API_KEY, "
            "or set CONVSTORE_API_KEY_FILE to a writable file"
        ) from error


def load_read_keys(settings: Settings) -> list[str]:
    """Return the read-only keys. Their file may be missing, unless CONVSTORE_READ_KEYS_FILE names it.

    Raises:
        InvalidSettings: the file cannot be used.
    """
    if settings.no_auth:
        return []
    if settings.read_keys:
        return _reveal("CONVSTORE_READ_KEYS", settings.read_keys)
    path = settings.read_keys_path
    if settings.read_keys_file is None and not path.exists():
        return []
    try:
        return _read_keys(path)
    except OSError as error:
        raise InvalidSettings(f"the file of read-only keys {path} cannot be read ({error.strerror})") from error


def _reveal(variable: str, given: Sequence[SecretStr]) -> list[str]:
    """Return the keys of a setting, and warn of those that are short."""
    keys = [key.get_secret_value() for key in given]
    for number, key in enumerate(keys, 1):
        if len(key) < KEY_MIN:
            log.warning(
                "key %d in %s has %d characters and can be guessed; use %d or more", number, variable, len(key), KEY_MIN
            )
    return keys


def _read_or_make(path: Path) -> tuple[list[str], bool]:
    """Return the keys in a file. If the file is missing, it is created with a new key."""
    if path.exists():  # perhaps in a directory that this server must not write to
        return _read_keys(path), False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_urlsafe(32)
    descriptor, fresh = mkstemp(dir=path.parent, prefix=".api-key-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{key}\n")
        # the file appears with its whole content, so no other process reads half a key
        try:
            rename_exclusively(fresh, path)
        except FileExistsError:
            return _read_keys(path), False
    finally:
        Path(fresh).unlink(missing_ok=True)
    return [key], True


def _read_keys(path: Path) -> list[str]:
    """Return the keys of a file.

    Raises:
        InvalidSettings: a line is not a key, or there is none. The message names the line, and never the key.
        OSError: the file cannot be read.
    """
    keys = []
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        if not line.isascii() or not line.decode().isprintable() or b" " in line:
            raise InvalidSettings(
                f"line {number} of the key file {path} is not a key; write one key a line, in ASCII, without spaces"
            )
        if len(line) < KEY_MIN:
            raise InvalidSettings(
                f"the key in line {number} of {path} has {len(line)} characters; a key needs at least {KEY_MIN} "
                "(`openssl rand -hex 32` makes one)"
            )
        keys.append(line.decode())
    if not keys:
        raise InvalidSettings(f"the key file {path} is empty; write a key into it, or delete it to get a new key")
    return keys


class KeyFiles:
    """Follows the key files of a server, also through symbolic links. It replaces the keys when a file has changed."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._paths = [
            path
            for path, fixed in (
                (settings.key_path, settings.api_key),
                (settings.read_keys_path, settings.read_keys),
            )
            if keys.required and not fixed
        ]
        self._seen = self._look()

    def _look(self) -> Sequence[_Stamp]:
        return [_stamp(path) for path in self._paths]

    async def follow(self) -> None:
        """Look once a second, and never end."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if await asyncio.to_thread(self._look) != self._seen:
                    await asyncio.to_thread(self.read)
            except Exception as error:  # if there is no memory for a thread now, look again later
                if not is_out_of_memory(error):
                    raise

    def read(self) -> None:
        """Read the files again. If one cannot be used, the keys stay as they are, and the log says why."""
        if not self._paths:
            return
        seen = self._look()  # before the reading, so that a change during the reading is noticed next time
        try:
            full, read = self._load()
        except InvalidSettings as error:
            log.error("the key files changed, and the earlier keys stay valid: %s", error)  # noqa: TRY400
        else:
            self._keys.replace(full, read)
            log.info("the key files were read again; the keys are now: %s", self._keys.describe())
        self._seen = seen

    def _load(self) -> tuple[list[str], list[str]]:
        path = self._settings.key_path
        if path in self._paths and not path.exists():  # `load_keys` would make a new key
            raise InvalidSettings(f"the key file {path} is missing")
        return load_keys(self._settings)[0], load_read_keys(self._settings)


def _stamp(path: Path) -> _Stamp:
    """Return what shows that a file changed. A symbolic link is followed, so it also shows that the link changed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
