"""`convstore service install | status | remove`: a unit by which systemd runs the server of a store."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidSettings, OutputRefused, StoreUnavailable
from ..settings import Settings
from ..store.existence import require_directory
from .options import DirArgument, DryRunOption, IndexOption, JsonOption, SameStoreOption, choose_store, make_settings
from .output import err, out, print_json, print_table
from .registration import add_command, make_group

app = make_group("Run the server of a store under systemd: write, show or remove its unit.")

SystemOption = Annotated[
    bool, typer.Option("--system", help="The unit of the system, which root writes. Otherwise the unit of this user.")
]
NameOption = Annotated[str, typer.Option("--name", help="The name of the unit; for a second store, another one.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also if something else wrote the unit.")]

_RUNNING = Path("/run/systemd/system")
"""This directory exists if and only if systemd runs the system; see sd_booted(3)."""

_SYSTEM_UNITS = Path("/etc/systemd/system")
_MARK = "# Written by `convstore service install`, which may write it again. Use `systemctl edit` for changes."
_match_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}").fullmatch


@add_command(app, "install")
def install_command(
    directory: DirArgument = None,
    store: SameStoreOption = None,
    index: IndexOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.", show_default="8000")] = None,
    system: SystemOption = False,
    name: NameOption = "convstore",
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Write a systemd unit that serves a store, and start it. Without systemd, print the unit.

    Example: convstore service install workspace/conversations --port 8000
    """
    settings = make_settings(store=choose_store(directory, store), index_url=index, host=host, port=port)
    require_directory(settings)
    path = _unit_path(name, system=system)
    text = make_unit(settings, name, system=system)
    _require_own(path, force=force)
    if system:
        _require_readable(Path("/etc") / f"{name.removesuffix('.service')}.env", settings.root)
    written = _RUNNING.is_dir() and not dry_run
    if written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        _systemctl("daemon-reload", system=system)
        _systemctl("enable", "--now", path.name, system=system)
    if json_:
        print_json({"unit": str(path), "written": written, "text": text})
    elif written:
        err.print(f"wrote {path} and started it; `{_shown(system)} status {name}` shows it")
        if not system:
            err.print("it ends when you log out, unless `loginctl enable-linger` was run")
    else:
        why = "" if _RUNNING.is_dir() else "systemd does not run here, so nothing was written. "
        err.print(f"{why}This is the unit for {path}:")
        out.print(text, end="")


@add_command(app, "status")
def status_command(system: SystemOption = False, name: NameOption = "convstore", json_: JsonOption = False) -> None:
    """Show whether there is a unit, and whether systemd runs it.

    Example: convstore service status
    """
    path = _unit_path(name, system=system)
    found = {
        "unit": str(path),
        "exists": path.exists(),
        "own": _is_own(path),
        "active": _ask("is-active", path.name, system=system),
        "enabled": _ask("is-enabled", path.name, system=system),
    }
    if json_:
        print_json(found)
        return
    owner = "convstore" if found["own"] else "something else" if found["exists"] else "nobody; there is none"
    rows = [("unit", str(path)), ("written by", owner)]
    print_table(("", ""), [*rows, ("active", str(found["active"])), ("enabled", str(found["enabled"]))])


@add_command(app, "remove")
def remove_command(
    system: SystemOption = False,
    name: NameOption = "convstore",
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Stop the server that systemd runs, and remove its unit. The store stays as it is.

    Example: convstore service remove
    """
    path = _unit_path(name, system=system)
    if not path.exists():
        raise InvalidSettings(f"there is no unit {path}; `--system` and `--name` select another one")
    _require_own(path, force=force)
    if not dry_run:
        if _RUNNING.is_dir():
            _systemctl("disable", "--now", path.name, system=system)
        path.unlink()
        if _RUNNING.is_dir():
            _systemctl("daemon-reload", system=system)
    if json_:
        print_json({"unit": str(path), "removed": not dry_run})
    else:
        err.print(f"{'would remove' if dry_run else 'removed'} {path}")


def _unit_path(name: str, *, system: bool) -> Path:
    name = name.removesuffix(".service")
    if not _match_name(name):
        raise InvalidSettings(f"--name: {name[:64]!r} is not the name of a unit; use letters, digits, `_`, `.` and `-`")
    if system:
        return _SYSTEM_UNITS / f"{name}.service"
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(configured) if configured else Path.home() / ".config") / "systemd/user" / f"{name}.service"


def _is_own(path: Path) -> bool:
    return path.exists() and path.read_text(errors="replace").startswith(_MARK)


def _require_own(path: Path, *, force: bool) -> None:
    """Check that a unit may be replaced or removed.

    Raises:
        OutputRefused: something else wrote it.
    """
    if path.exists() and not _is_own(path) and not force:
        raise OutputRefused(f"convstore did not write the unit {path}; choose another --name, or give --force")


def _require_readable(file: Path, root: Path) -> None:
    """Check that the owner of the store, as whom the service runs, may read the settings file, if there is one.

    Raises:
        InvalidSettings: the owner may not.
    """
    try:
        status, owner = file.stat(), root.stat()
    except FileNotFoundError:
        return
    mine = owner.st_uid in (0, status.st_uid) or (owner.st_gid == status.st_gid and status.st_mode & stat.S_IRGRP)
    if not (mine or status.st_mode & stat.S_IROTH):
        name = _owner(root)
        raise InvalidSettings(f"{file} must be readable for {name}, as whom the service runs: `chown {name} {file}`")


def make_unit(settings: Settings, name: str, *, system: bool) -> str:
    """Return the text of the unit that serves a store.

    As a service of the system it runs as the owner of the store, and can write only to the store and its index.
    """
    given = {"STORE": str(settings.written_root)}
    given |= {"INDEX_URL": settings.index_url} if settings.index_url else {}
    given |= {"HOST": settings.host, "PORT": str(settings.port)}
    lines = [
        _MARK,
        "[Unit]",
        f"Description=convstore ({_escape(str(settings.written_root))})",
        *(["After=network.target"] if system else []),
        "",
        "[Service]",
        *(f"Environment={_quote(f'CONVSTORE_{key}={value}')}" for key, value in given.items()),
        "# Further settings, if this file exists. `systemctl reload` makes the server read keys and log level again.",
        f"Environment=CONVSTORE_ENV_FILE=-%E/{name.removesuffix('.service')}.env",
        f"ExecStart={' '.join(map(_quote, _program()))} serve",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "TimeoutStopSec=30",
        "UMask=0077",
        *_CONFINED,
        *(_confine(settings, name.removesuffix(".service")) if system else []),
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
    ]
    return "\n".join(lines) + "\n"


_CONFINED = (
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
)
"""The lines that confine any service. systemd can apply them without privileges."""

_CONFINED_IN_SYSTEM = (
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
    "CapabilityBoundingSet=",
)
_HOMES = ("/home", "/root", "/run/user")


def _confine(settings: Settings, name: str) -> list[str]:
    """Return the lines by which a service of the system runs as the store's owner, and writes to nothing else.

    A directory of its own in /var/log is for an audit file.
    """
    written = _written(settings)
    used = [*written, settings.written_root, Path(_program()[0]), Path(sys.prefix)]
    at_home = any(path.is_relative_to(home) for path in used for home in _HOMES)
    return [
        f"User={_owner(settings.root)}",
        *(f"ReadWritePaths={_quote(str(path))}" for path in written),
        f"LogsDirectory={name}",
        "LogsDirectoryMode=0700",
        *_CONFINED_IN_SYSTEM,
        *([] if at_home else ["ProtectHome=yes"]),
    ]


def _owner(directory: Path) -> str:
    number = directory.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _written(settings: Settings) -> list[Path]:
    """Return the directories to which the server writes. In a confined service it cannot make the index's directory.

    Raises:
        InvalidSettings: the index's directory does not exist.
    """
    index = settings.state_dir
    if index.is_relative_to(settings.root):
        return [settings.root]
    if not index.is_dir():
        raise InvalidSettings(f"--index: make the directory {index} first, with the owner of the store as its owner")
    return [settings.root, index]


def _program() -> list[str]:
    """Return the installed command, by its absolute path."""
    command = Path(sys.executable).with_name("convstore")
    return [str(command)] if command.exists() else [sys.executable, "-P", "-m", __package__.partition(".")[0]]


def _escape(text: str) -> str:
    """Return a text for a unit.

    Raises:
        InvalidSettings: it has a control character.
    """
    if not text.isprintable():
        raise InvalidSettings(f"{text!r} has a character that a unit cannot have; rename the directory")
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    """Return one word of a unit; see "Quoting" in systemd.syntax(7)."""
    escaped = _escape(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[^\w@%+=:,./-]", text) else escaped


def _command(*arguments: str, system: bool) -> list[str]:
    return ["systemctl", *([] if system else ["--user"]), *arguments]


def _shown(system: bool) -> str:
    return shlex.join(_command(system=system))


def _ask(question: str, unit: str, *, system: bool) -> str:
    """Return systemd's word for the state of a unit, or "unknown" where systemd does not run."""
    if not _RUNNING.is_dir():
        return "unknown: systemd does not run here"
    asked = subprocess.run(  # noqa: S603
        _command(question, unit, system=system), capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _systemctl(*arguments: str, system: bool) -> None:
    """Have systemd do something.

    Raises:
        StoreUnavailable: it failed.
    """
    command = _command(*arguments, system=system)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        told = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise StoreUnavailable(
            f"`{shlex.join(command)}` failed: {told}; the unit is on disk, correct this and run it again"
        )
