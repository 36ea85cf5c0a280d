"""The settings, from `CONVSTORE_*` environment variables or keyword arguments. Nothing is read at import."""

from __future__ import annotations

import os
import re
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import InvalidSettings

BASE_PATH_PATTERN = r"(/[A-Za-z0-9._~-]+)*"
INDEX_NAME = "index.db"
"""The name of an index that no setting names."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """All settings of a store and its server.

    Raises:
        pydantic.ValidationError: a value has the wrong type or is out of range.
    """

    model_config = SettingsConfigDict(env_prefix="CONVSTORE_", extra="ignore", populate_by_name=True)

    env_file: str | None = Field(
        default=None,
        description="A file with settings as NAME=value lines, as for systemd's EnvironmentFile; environment variables "
        "win. SIGHUP reads the log level from it again. With - in front, the file may be missing.",
    )
    store: Path = Field(description="The directory that holds the conversation directories.")
    index_url: str | None = Field(
        default=None,
        description="The location of the index: sqlite:///PATH or, for the extra `postgres`, "
        "postgresql://USER@HOST/DATABASE. Default: .convstore/index.db in the store.",
    )
    index_schema: str = Field(
        default="convstore",
        min_length=1,
        max_length=63,
        description="The schema of the index in PostgreSQL. Each store needs its own.",
    )
    index_pool: int = Field(
        default=8, ge=1, description="The number of connections to PostgreSQL with which a process reads."
    )
    host_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="The name of this host, if several share a store over PostgreSQL. Needed for containers on one "
        "machine that do not see each other's file locks. Default: the machine's name.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    uds: Path | None = Field(
        default=None, description="A Unix socket to listen on, instead of host and port; mode 0660."
    )
    fd: int | None = Field(
        default=None, ge=0, description="The descriptor of a listening socket that the parent process opened."
    )
    keep_alive_s: int = Field(
        default=75, ge=0, description="Seconds after which a connection without a request is closed."
    )
    api_key: Annotated[list[SecretStr], NoDecode] = Field(
        default=[], description="The valid API keys, separated by commas. If set, the key file is ignored."
    )
    api_key_file: Path | None = Field(
        default=None, description="The file that holds the API key; made if missing. Default: api-key beside the index."
    )
    read_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[],
        description="The keys that may only read, separated by commas. If set, the file of read-only keys is ignored.",
    )
    read_keys_file: Path | None = Field(
        default=None,
        description="The file that holds the read-only keys. Default: api-key-read beside the index, if it exists.",
    )
    base_path: str = Field(
        default="",
        pattern=f"^{BASE_PATH_PATTERN}$",
        description="The prefix of all paths behind a proxy, such as /convstore. Paths without it work, too.",
    )
    no_auth: bool = Field(default=False, description="Serve without a key. Only on a loopback address.")
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default=[], description="Further Host headers to accept, separated by commas; * accepts any."
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="The proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are believed, separated by commas: "
        "addresses, networks such as 10.0.0.0/8, or unix for peers on a Unix socket.",
    )
    timezone: str | None = Field(
        default=None,
        description="The time zone of event times without a zone, e.g. Europe/Paris. Default: the host's zone.",
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    log_format: Literal["auto", "plain", "json"] = Field(
        default="auto",
        description="The format of log lines: plain, json, or auto (plain in a terminal, json elsewhere).",
    )
    audit_file: Path | None = Field(
        default=None,
        description="A file to which servers and commands append the audit trail, one JSON object a line.",
    )
    open_metrics: bool = Field(default=False, description="Answer GET /metrics without a key.")
    busy_timeout_s: float = Field(
        default=5.0, gt=0, description="Seconds to wait for another writer of the index before giving up."
    )
    sync_processes: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="Processes that read files while an index is first built; 0 reads in a thread. "
        "Default: one per core, at most 4, for the command; 0 for the library.",
    )
    search_tools: bool = Field(
        default=False,
        description="Make all input and output of tools searchable, not only their commands, paths and errors.",
    )
    search_timeout_s: float = Field(default=0.8, gt=0, description="Seconds after which a full-text search is stopped.")
    workers: int = Field(default=1, ge=1, le=64, description="The number of server processes, which share one socket.")
    shutdown_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds that a stopping server may take to finish running requests."
    )
    secret_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CONVSTORE_SECRET_KEY", "OH_SECRET_KEY"),
        description="The key that encrypts the secrets of conversations created here, as OH_SECRET_KEY does. "
        "Without a key, secrets are masked.",
    )
    instance: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="The name of the owner of conversations. Processes with the same name are one owner. `serve` "
        "adds a random suffix. Default: a random name.",
    )
    open_conversations: int = Field(
        default=100, ge=1, description="The maximum number of idle conversations that stay open for writing."
    )
    open_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=0,
        description="The maximum memory in bytes of idle conversations that stay open for writing.",
    )
    idle_s: float = Field(
        default=60.0, ge=0, description="Seconds without a write after which an open conversation is closed."
    )
    verify_hours: float = Field(
        default=0.0,
        ge=0,
        description="Hours within which a server compares the whole index with the files, in small steps, and corrects "
        "differences; 0: never.",
    )
    trash_days: float = Field(
        default=30.0,
        ge=0,
        description="Days after which a running server permanently removes a deleted conversation; 0: never.",
    )
    readers: int = Field(default=2, ge=1, le=64, description="Read connections to the index, one thread each.")
    import_max_bytes: int = Field(
        default=256 << 20,
        ge=0,
        description="The maximum size in bytes of an archive for POST /api/conversations/import, before unpacking.",
    )
    export_hours: float = Field(
        default=24.0, gt=0, description="Hours after which an export that was made as a file is removed."
    )
    export_max_bytes: int = Field(
        default=10 << 30, ge=0, description="The maximum size in bytes of all exports that are made as files."
    )
    followers: int = Field(
        default=500, ge=0, description="The maximum number of open sockets and event streams in each process."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from: arguments first, then the environment, then the file."""
        named = init_settings().get("env_file") or os.environ.get("CONVSTORE_ENV_FILE")
        file = find_env_file(named)
        return (init_settings, env_settings, *([] if file is None else [DotEnvSettingsSource(settings_cls, file)]))

    @field_validator("api_key", "read_keys", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("store")
    @classmethod
    def _known_home(cls, value: Path) -> Path:
        try:
            value.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{str(value)!r} begins with the home directory of a user that does not exist") from error
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _only_names(cls, value: list[str]) -> list[str]:
        return [_host_name(host) for host in value]

    @field_validator("trusted_proxies")
    @classmethod
    def _only_networks(cls, value: list[str]) -> list[str]:
        for one in value:
            try:
                one == "unix" or ip_network(one, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"{one!r} is not an address or a network; write 10.0.0.5, 10.0.0.0/8 or unix"
                ) from error
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"no time zone is called {value!r}; use a name such as Europe/Paris or UTC") from error
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("use debug, info, warning or error")
        return value.lower()

    @cached_property
    def root(self) -> Path:
        """The store as an absolute path without symbolic links. It is resolved once, so all parts use one directory."""
        return Path(os.path.realpath(self.store.expanduser()))

    @cached_property
    def written_root(self) -> Path:
        """The store as an absolute path as the user wrote it, without following links."""
        return Path(os.path.abspath(self.store.expanduser()))  # noqa: PTH100 - resolve() would follow links

    @cached_property
    def shown_root(self) -> str:
        """The store for messages: the path as the user wrote it and, if it has a link, the real path."""
        return (
            str(self.written_root) if self.written_root == self.root else f"{self.written_root} (that is {self.root})"
        )

    @cached_property
    def index_path(self) -> Path:
        """The index's database file, without symbolic links: its locks are beside it, and all processes share them.

        If the index is in PostgreSQL, there is no such file, but the server's own files are in its directory.

        Raises:
            InvalidSettings: CONVSTORE_INDEX_URL is not a SQLite URL with a path.
        """
        return Path(os.path.realpath(self._written_index_path))

    @cached_property
    def index_server(self) -> str | None:
        """The URL of the index's database in PostgreSQL, which may have a password; None for an index in SQLite."""
        scheme, separator, rest = (self.index_url or "").partition("://")
        is_postgres = scheme.partition("+")[0] in {"postgresql", "postgres"}
        return f"postgresql{separator}{rest}" if is_postgres else None

    @cached_property
    def _written_index_path(self) -> Path:
        if self.index_url is None or self.index_server is not None:
            return self.root / ".convstore" / INDEX_NAME
        url = urlsplit(self.index_url)
        if url.scheme not in {"sqlite", "sqlite+aiosqlite"} or url.netloc or len(url.path) < 2 or url.query:
            raise InvalidSettings(
                f"CONVSTORE_INDEX_URL is {self.index_url!r}; write sqlite:///relative/path.db, "
                "sqlite:////absolute/path.db, or postgresql://user@host/database"
            )
        return Path(os.path.abspath(url.path[1:]))  # noqa: PTH100

    @property
    def state_dir(self) -> Path:
        """The directory for the server's own files beside the index: its key, its address, and logins of the page."""
        return self.index_path.parent

    @cached_property
    def key_path(self) -> Path:
        """The file that holds the generated API key."""
        return self.api_key_file or self._written_index_path.with_name("api-key")

    @cached_property
    def read_keys_path(self) -> Path:
        """The file that holds the read-only keys. It may be missing."""
        return self.read_keys_file or self._written_index_path.with_name("api-key-read")

    @property
    def loopback(self) -> bool:
        """Whether the server listens on this machine only."""
        return self.host in LOOPBACK_HOSTS

    def read_log_level(self) -> str:
        """Return the log level as it is in the settings file now, or the present one without a file.

        Raises:
            InvalidSettings, pydantic.ValidationError: the file cannot be used.
        """
        return type(self)(store=self.store, env_file=self.env_file).log_level if self.env_file else self.log_level

    def as_environment(self) -> dict[str, str]:
        """Return the environment variables that give another process these settings.

        A log level that comes from the settings file is left out, so that the process reads it from there.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields} | {"store": self.root}
        if self.env_file and "CONVSTORE_LOG_LEVEL" not in os.environ:
            del given["log_level"]
        return {f"CONVSTORE_{name.upper()}": _as_text(value) for name, value in given.items() if value is not None}


def find_env_file(named: str | None) -> Path | None:
    """Return the settings file, or None if none is named, or if one that may be missing is.

    Raises:
        InvalidSettings: the file does not exist.
    """
    if not named:
        return None
    path = Path(named.removeprefix("-")).expanduser()
    if path.is_file():
        return path
    if named.startswith("-"):
        return None
    raise InvalidSettings(f"CONVSTORE_ENV_FILE: {path} is not a file; write it, or put - in front if it may be missing")


def _host_name(given: str) -> str:
    """Return the name from a host that may have a scheme, a port, or a slash at the end."""
    if given == "*" or re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", given):  # an IPv6 address
        return given
    try:
        url = urlsplit(given if "://" in given else f"//{given}")
        name, _ = url.hostname, url.port  # reading the port raises ValueError if it is not a number
    except ValueError:
        name = None
    if not name or not re.fullmatch(r"[^\s*@/\\]+", name) or url.username is not None or _has_more(url):
        raise ValueError(f"{given!r} is not a host; write a name such as conversations.example, or * for any")
    return name


def _has_more(url: SplitResult) -> bool:
    return bool(url.path.strip("/") or url.query or url.fragment)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_as_text(part) for part in value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
