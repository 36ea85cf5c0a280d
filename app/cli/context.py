"""Common parts of commands: opening the store, ages, and confirmation."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ..errors import InvalidSettings
from ..settings import Settings
from ..store.existence import require_store
from ..store.follow.full_sync import SyncReport
from ..store.store import ConversationStore
from .options import (
    DirArgument,
    IndexOption,
    JsonOption,
    NoSyncOption,
    SameStoreOption,
    StoreOption,
    choose_store,
    make_settings,
)
from .output import LateBar, format_age, warn
from .registration import OptionGroup

T = TypeVar("T")

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_match_age = re.compile(r"([0-9]{1,6})([mhdw])").fullmatch


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
