"""Common parts of commands: options, settings, opening the store, and confirmation."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from dotenv import dotenv_values
from pydantic import ValidationError

from .. import logs, trail
from ..errors import InvalidSettings
from ..settings import Settings, find_env_file
from ..store.context import require_store
from ..store.follow.full_sync import SyncReport
from ..store.store import ConversationStore
from .output import LateBar, format_age, warn
from .registration import PYDANTIC_PREFIX, OptionGroup

T = TypeVar("T")

_PROCESSES_MAX = 4
_ALIKE_MIN = 0.7  # difflib's ratio for similar names; it is 0.75 for PROT and PORT
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_match_age = re.compile(r"([0-9]{1,6})([mhdw])").fullmatch

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


@dataclass(frozen=True)
class CommandContext:
    """The values of the options that all commands share, and access to the store."""

    store: Path | None
    index: str | None
    json: bool
    no_sync: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use. Raises the errors of `make_settings`."""
        return make_settings(store=self.store, index_url=self.index)

    def run(self, work: Callable[[ConversationStore], Awaitable[T]], *, may_create: bool = False) -> T:
        """Open the store, use its index as it is, and return the result of `work`."""
        if not may_create:
            require_store(self.settings)

        async def run() -> T:
            async with ConversationStore.open(self.settings) as store:
                return await work(store)

        return asyncio.run(run())

    def run_synced(self, work: Callable[[ConversationStore], Awaitable[T]], *, exact: bool = False) -> T:
        """Do the same as `run`, but sync the index first unless --no-sync is given.

        Unless the answer must be `exact`, the index is used as it is while a server keeps it up to date, and also if it
        has so many conversations that the sync would take seconds. Then a warning says how old the index is.
        """

        async def run(store: ConversationStore) -> T:
            is_usable = self.no_sync or (not exact and await _is_usable(store))
            if not is_usable and not (await sync(store)).conversations:
                warn(f"convstore: no conversation directories in {self.settings.shown_root}")
            if store.index.building:
                warn(f"convstore: the index is still being built; it lists {store.index.building} conversations")
            return await work(store)

        return self.run(run)

    def run_edit(self, work: Callable[[ConversationStore], Awaitable[T]]) -> T:
        """Do the same as `run`, but first sync an index without conversations, so that ids can be found."""

        async def run(store: ConversationStore) -> T:
            if not (await store.get_status())[1].conversations:
                await store.sync()
            return await work(store)

        return self.run(run)


def _make_context(store: StoreOption = None, index: IndexOption = None, json: JsonOption = False) -> CommandContext:
    return CommandContext(store, index, json)


def _make_sync_context(
    store: StoreOption = None, index: IndexOption = None, no_sync: NoSyncOption = False, json: JsonOption = False
) -> CommandContext:
    return CommandContext(store, index, json, no_sync)


def make_dir_context(
    directory: DirArgument = None, store: SameStoreOption = None, index: IndexOption = None, json: JsonOption = False
) -> CommandContext:
    """Return the context of a command that takes DIR, and has no --no-sync."""
    return CommandContext(choose_store(directory, store), index, json)


def _make_sync_dir_context(
    directory: DirArgument = None,
    store: SameStoreOption = None,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> CommandContext:
    return CommandContext(choose_store(directory, store), index, json, no_sync)


def choose_store(directory: Path | None, store: Path | None) -> Path | None:
    """Return the directory that DIR or --store names.

    Raises:
        InvalidSettings: both are given.
    """
    if directory and store:
        raise InvalidSettings("DIR and --store mean the same; give only one of them")
    return directory or store


ContextOptions = Annotated[CommandContext, OptionGroup(_make_context, at_end=("index", "json"))]
SyncContextOptions = Annotated[CommandContext, OptionGroup(_make_sync_context, at_end=("index", "no_sync", "json"))]
DirContextOptions = Annotated[CommandContext, OptionGroup(make_dir_context, at_end=("index", "json"))]
"""The context of commands without another argument, which accept the store as DIR."""

SyncDirContextOptions = Annotated[
    CommandContext, OptionGroup(_make_sync_dir_context, at_end=("index", "no_sync", "json"))
]


async def _is_usable(store: ConversationStore) -> bool:
    """Whether the index answers without a sync. If it may be old, say so."""
    if await store.is_followed_elsewhere():
        return True
    old = await store.find_old_comparison()
    if old is None:
        return False
    warn(
        f"convstore: the index of {old.conversations:,} conversations was last compared with the files "
        f"{format_age(old.age_s)} ago; `convstore index sync` compares it now"
    )
    return True


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


async def sync(store: ConversationStore, *, allow_empty: bool = False) -> SyncReport:
    """Sync the index with the files, with a progress bar if that takes longer than a second."""
    with LateBar() as bar:
        return await store.sync(on_progress=bar.show, allow_empty=allow_empty)


def parse_age(text: str) -> int:
    """Return an age such as 30m, 12h, 180d or 4w in microseconds.

    Raises:
        typer.BadParameter: the text is not an age.
    """
    match = _match_age(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not an age; write a number and m, h, d or w, as in 180d")
    return int(match[1]) * _UNITS_S[match[2]] * 1_000_000


def confirm(question: str, *, yes: bool) -> None:
    """Ask before an action that cannot be undone, unless `yes` is set.

    Raises:
        InvalidSettings: standard input is not a terminal.
        typer.Exit: the answer is no (exit code 2), or the question was interrupted (130).
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidSettings(
            f"{question} Standard input is not a terminal; give --yes, or --dry-run to see what would be done"
        )
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as abort:  # typer would exit with 1, which here means that something was found
        raise typer.Exit(130 if isinstance(abort.__context__, KeyboardInterrupt) else 2) from abort
    if not agreed:
        raise typer.Exit(2)
