"""A doctor's look at a store: what is well, what is not, and what to do. It mends nothing, and makes no index."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from app.errors import IndexBusy, IndexDamaged, IndexUnusable, StoreError, StoreUnavailable
from app.files import liveness
from app.files.metadata_reader import list_ahead
from app.index import conversation_lookup, health, ownership
from app.index import state as index_state
from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from app.index.sqlite.replace_index import is_marked
from app.index.sqlite.schema_version import HEAD, read_revision
from app.model.ids import dashed
from app.model.times import AHEAD_MAX_US, format_us
from app.settings import Settings
from app.store.directory import make_reader
from app.store.findings import Finding, note, ok, problem
from app.store.follow.derivation import read_as_derived
from app.store.follow.leader import is_followed
from app.store.follow.verify import verify
from app.store.surroundings import ELSEWHERE, look_around

_SHOWN = 10
_FORBIDDEN = os.strerror(errno.EACCES)  # which a repair does not mend
_REBUILD = "`convstore index rebuild`; a running server, or any command, also builds a damaged index anew by itself"


async def examine(settings: Settings, version: str, *, sample: int) -> AsyncIterator[Finding]:
    """Give every finding. `sample` conversations, chosen at random, are compared with their rows.

    Raises:
        StoreUnavailable: the conversations directory is missing or cannot be read.
    """
    if not await asyncio.to_thread(settings.root.is_dir):
        raise StoreUnavailable(f"{settings.root} is no directory; give the one that holds the conversation directories")
    for finding in await asyncio.to_thread(lambda: list(look_around(settings, version))):
        yield finding
    found = await asyncio.to_thread(_schema, settings)
    for finding in found:
        yield finding
    if not found[-1].advice:
        async for finding in _index(settings, sample):
            yield finding


def _schema(settings: Settings) -> list[Finding]:
    """Say whether the index can be opened; the last finding has an advice when it cannot."""
    path = settings.index_path
    hindrance = _find_hindrance(path)
    if hindrance:
        return [hindrance]
    try:
        now = read_revision(path)
        wrong = migrations.drift(path) if now == HEAD else []
    except IndexUnusable as error:
        return [_unusable(error)]
    except StoreError as error:
        return [problem("index", str(error), "look again when the other program is done")]
    if now != HEAD:
        return [problem("schema", f"{now or 'none'}, this convstore needs {HEAD}", "`convstore db upgrade`")]
    return [problem("schema", "; ".join(wrong[:3]), _REBUILD) if wrong else ok("schema", f"{now}, sound")]


def _find_hindrance(path: Path) -> Finding | None:
    """Return what keeps the index from being opened, as far as its name and place tell."""
    try:
        path.stat()
    except FileNotFoundError:
        return note("index", f"there is no index {path} yet", "`convstore serve`, or `convstore index sync`, makes it")
    except OSError as error:
        return problem("index", f"{path} cannot be looked at ({error.strerror})", ELSEWHERE)
    return problem("index", f"{path} was found damaged and is to be built anew", _REBUILD) if is_marked(path) else None


async def _index(settings: Settings, sample: int) -> AsyncIterator[Finding]:
    index = Index(settings.index_path, readers=1, busy_timeout_s=settings.busy_timeout_s)
    try:
        await index.open()
        try:
            yield await _pragmas(index)
            async for finding in _state(index, settings):
                yield finding
            async for finding in _unreadable(index):
                yield finding
            yield await _clocks(index, settings)
            yield await _compared(index, settings, sample)
        finally:
            await index.close()
    except IndexUnusable as error:
        yield _unusable(error)


def _unusable(error: IndexUnusable) -> Finding:
    return problem("index", str(error), _REBUILD if isinstance(error, IndexDamaged) else ELSEWHERE)


async def _pragmas(index: Index) -> Finding:
    async with index.read() as connection:
        found = await health.read_pragmas(connection)
    wrong = [f"{name} is {found[name]}, not {value}" for name, value in health.EXPECTED.items() if found[name] != value]
    if wrong:
        return problem("pragmas", "; ".join(wrong), "another program changed the index; stop it, and restart convstore")
    return ok("pragmas", ", ".join(f"{name} {value}" for name, value in found.items()))


async def _state(index: Index, settings: Settings) -> AsyncIterator[Finding]:
    async with index.read() as connection:
        state = await index_state.get_progress(connection)
        totals = await conversation_lookup.count_totals(connection)
        dirty = await ownership.list_dirty(connection)
    swept = f"compared with the files at {format_us(state.last_sweep_at)}" if state.last_sweep_at else "never compared"
    yield ok("index", f"{totals.conversations:,} conversations, {swept}")
    if state.last_error:
        yield problem("index", state.last_error, "mend what it says; a running server then goes on by itself")
    if await asyncio.to_thread(is_followed, index):
        yield ok("server", "one looks after the index")
    else:
        yield note("server", "none looks after the index", "`convstore serve` follows changes; commands look first")
    dead = {one.owner for one in dirty if not liveness.is_living(settings.root, one.owner)}
    left = [dashed(one.id) for one in dirty if one.owner in dead]
    if left:
        yield note(
            "crash",
            f"{len(left)} conversations were open when their convstore ended: {', '.join(left[:3])}",
            "a server that starts, or the next one who writes to them, puts them right",
        )


async def _unreadable(index: Index) -> AsyncIterator[Finding]:
    async with index.read() as connection:
        number = (await conversation_lookup.count_totals(connection)).unreadable
        found = await health.list_unreadable(connection, _SHOWN)
    if not number:
        yield ok("unreadable", "none")
    for conversation_id, reason in found:
        one = dashed(conversation_id)
        advice = "let this user read it: its owner and mode" if _FORBIDDEN in reason else f"`convstore repair {one}`"
        yield problem("unreadable", f"{one}: {reason}", advice)
    if number > len(found):
        yield problem("unreadable", f"{number - len(found)} more", "`convstore list --unreadable` lists them")


async def _clocks(index: Index, settings: Settings) -> Finding:
    latest_us = time.time_ns() // 1000 + AHEAD_MAX_US
    async with index.read() as connection:
        by_events = await health.list_ahead(connection, latest_us)
    ahead = sorted({*by_events, *await asyncio.to_thread(list_ahead, settings.root, latest_us)})
    if not ahead:
        return ok("clocks", "no conversation tells a time in the future")
    shown = ", ".join(map(dashed, ahead[:3])) + (" and others" if len(ahead) > 3 else "")
    return note(
        "clocks",
        f"{len(ahead)} conversations tell a time more than a day in the future: {shown}",
        "set the clock of the programs that wrote them; convstore takes the times of their files instead",
    )


async def _compared(index: Index, settings: Settings, sample: int) -> Finding:
    reader = make_reader(settings)
    try:
        await read_as_derived(index, reader)
        found = [difference async for difference in verify(index, reader, sample=sample)]
    except IndexBusy as error:
        return note("files", "not compared with the index", str(error))
    if not found:
        return ok("files", f"the names of all conversations, and {sample} of them in full, agree with the index")
    shown = "; ".join(
        f"{one.conversation} {one.what}: {one.in_index}, in the files {one.in_files}" for one in found[:3]
    )
    more = f" and {len(found) - 3} more differences" if len(found) > 3 else ""
    return problem("files", f"{shown}{more}", "`convstore index sync`, then `convstore index verify --fix`")
