"""Options that commands share, and the settings that come from them. This imports no store."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values
from pydantic import ValidationError

from .. import logs, trail
from ..errors import InvalidSettings
from ..settings import Settings, find_env_file
from .output import warn
from .registration import PYDANTIC_PREFIX

_PROCESSES_MAX = 4
_ALIKE_MIN = 0.7  # difflib's ratio for similar names; it is 0.75 for PROT and PORT

DirArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR", help="The directory that contains the conversations.", show_default="CONVSTORE_STORE"
    ),
]
SameStoreOption = Annotated[
    Path | None, typer.Option("--store", help="The same as DIR, as an option.", show_default=False)
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="CONVSTORE_STORE", help="The directory that contains the conversations.", show_default=False
    ),
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        envvar="CONVSTORE_INDEX_URL",
        help="The location of the index, e.g. sqlite:////var/lib/convstore/index.db or postgresql://user@host/database.",
        show_default="DIR/.convstore/index.db",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoSyncOption = Annotated[
    bool, typer.Option("--no-sync", help="Use the index as it is, without comparing it with the files first.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also if another program owns the conversation.")]


def choose_store(directory: Path | None, store: Path | None) -> Path | None:
    """Return the directory that DIR or --store names.

    Raises:
        InvalidSettings: both are given.
    """
    if directory and store:
        raise InvalidSettings("DIR and --store mean the same; give only one of them")
    return directory or store


def make_settings(**given: object) -> Settings:
    """Return the settings. Given values come first, then CONVSTORE_* variables, then the defaults.

    Raises:
        InvalidSettings: a value is invalid, or no store was given.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [
            "no store was given; use --store DIR or set CONVSTORE_STORE"
            if problem["loc"] == ("store",) and problem["type"] == "missing"
            else f"{_find_source(str(problem['loc'][0]), given)}: {problem['msg'].removeprefix(PYDANTIC_PREFIX)}"
            for problem in error.errors()
        ]
        raise InvalidSettings("; ".join(problems)) from error
    _warn_of_misspelt_variables(settings)
    if trail.is_begun():
        logs.send_audit_to(settings.audit_file)
    if settings.sync_processes is None:
        settings.sync_processes = min(os.cpu_count() or 1, _PROCESSES_MAX)
    return settings


def _find_source(setting: str, given: Mapping[str, object]) -> str:
    """Return the option or environment variable that a setting's value came from."""
    return f"CONVSTORE_{setting.upper()}" if given.get(setting) is None else f"--{setting.replace('_', '-')}"


def _warn_of_misspelt_variables(settings: Settings) -> None:
    """Warn about variables that resemble settings, because they are ignored without any other error."""
    known = [name.upper() for name in Settings.model_fields]
    file = find_env_file(settings.env_file)
    for variable in sorted({*os.environ, *(dotenv_values(file) if file else ())}):
        name = variable.removeprefix("CONVSTORE_")
        if name == variable or name in known:
            continue
        for meant in difflib.get_close_matches(name, known, 1, _ALIKE_MIN):
            warn(f"convstore: {variable} is not a setting and has no effect; did you mean CONVSTORE_{meant}?")
