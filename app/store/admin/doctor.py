"""The doctor: checks a store, and reports each problem with the next step. It repairs nothing and creates no index."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from ...errors import IndexBusy, IndexDamaged, IndexUnusable, StoreError
from ...files import liveness
from ...files.metadata_reader import list_future_conversations
from ...index import consistency, conversation_lookup
from ...index import state as index_state
from ...index.engine import Index
from ...index.opening import Schema, examine_schema, make_index
from ...index.sqlite import integrity, migrations
from ...index.sqlite.migrations import HEAD, read_revision
from ...index.sqlite.replace_index import is_marked_damaged
from ...model.ids import dashed
from ...model.times import AHEAD_MAX_US, format_us
from ...settings import Settings
from ..context import StoreContext, make_reader
from ..existence import require_directory
from ..follow.index_settings import adopt_index_settings
from ..follow.leader import has_leader_elsewhere
from ..follow.verify import verify
from .disk_checks import look_around
from .findings import ELSEWHERE, Finding, note, ok, problem

_SHOWN = 10
_NEEDED = frozenset({"index", "schema", "pooler"})
"""The checks without which the index is not opened."""
_CLOCK_S = 2.0
_FORBIDDEN = os.strerror(errno.EACCES)
"""The start of a reason that `convstore repair` cannot remove."""
_REBUILD = "`convstore index rebuild`; a running server, or any command, also rebuilds a damaged index by itself"


async def examine_store(settings: Settings, version: str, *, sample: int) -> AsyncIterator[Finding]:
    """Yield all findings. `sample` randomly chosen conversations are compared with their rows.

    Raises:
        StoreUnavailable: the conversations directory is missing or cannot be read.
    """
    await asyncio.to_thread(require_directory, settings)
    for finding in await asyncio.to_thread(lambda: list(look_around(settings, version))):
        yield finding
    check = partial(_check_server, settings) if settings.index_server else partial(_check_file, settings.index_path)
    findings = await asyncio.to_thread(check)
    for finding in findings:
        yield finding
    if not any(finding.advice for finding in findings if finding.check in _NEEDED):
        async for finding in _check_index(settings, sample):
            yield finding


def _check_schema(path: Path) -> Finding:
    """Check whether the index can be opened. If not, the finding has a next step."""
    obstacle = _find_obstacle(path)
    if obstacle:
        return obstacle
    try:
        revision = read_revision(path)
        wrong = migrations.drift(path) if revision == HEAD else []
    except IndexUnusable as error:
        return _report_unusable(error)
    except StoreError as error:
        return problem("index", str(error), "run the doctor again when the other program has finished")
    if revision is not None and revision > HEAD and revision.isdecimal():
        newer = f"{revision}: a newer convstore made the index, and this one needs {HEAD}"
        return problem(
            "schema", newer, "upgrade convstore, or set CONVSTORE_INDEX_URL=sqlite:////another/path/index.db"
        )
    if revision != HEAD:
        return problem("schema", f"{revision or 'none'}, this convstore needs {HEAD}", "`convstore db upgrade`")
    return problem("schema", "; ".join(wrong[:3]), _REBUILD) if wrong else ok("schema", f"{revision}, sound")


def _check_file(path: Path) -> list[Finding]:
    return [_check_schema(path)]


def _check_server(settings: Settings) -> list[Finding]:
    """Check an index in PostgreSQL. If it cannot be opened, a finding of `_NEEDED` has a next step."""
    try:
        schema = examine_schema(settings)
    except IndexUnusable as error:
        return [problem("index", str(error), "check the server and CONVSTORE_INDEX_URL")]
    if schema.shares_sessions:
        advice = "set the mode of the pooler to session, or name the server itself in CONVSTORE_INDEX_URL"
        return [problem("pooler", "a pooler shares sessions between connections", advice)]
    found = [_check_server_clock(schema.clock_ahead_s)]
    if schema.revision is None:
        absent = f"there is no index {schema.place} yet"
        return [*found, note("index", absent, "`convstore serve` or `convstore index sync` creates it")]
    if schema.faults:
        return [*found, problem("schema", "; ".join(schema.faults[:3]), "`convstore db upgrade`")]
    living = f"{len(schema.hosts)} live and write: {', '.join(schema.hosts)}" if schema.hosts else "none writes now"
    sound = ok("schema", f"{schema.revision}, sound, in {schema.place}, PostgreSQL {schema.version}")
    return [*found, ok("hosts", living), _check_trigrams(schema), sound]


def _check_server_clock(ahead_s: float) -> Finding:
    shown = f"PostgreSQL's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    if abs(ahead_s) < _CLOCK_S:
        return ok("server clock", shown)
    return note("server clock", shown, "convstore does not depend on it; leases of agent-servers do: set clocks by NTP")


def _check_trigrams(schema: Schema) -> Finding:
    if schema.has_trigrams:
        return ok("titles", "parts of titles are found in an index of trigrams")
    return note(
        "titles",
        "the schema has no index of trigrams, so a search for a part of a title reads all titles",
        "ask the administrator for `CREATE EXTENSION pg_trgm`, then use a new schema",
    )


def _find_obstacle(path: Path) -> Finding | None:
    """Return why the index cannot be opened, as far as its file's name and status show, or None."""
    try:
        path.stat()
    except FileNotFoundError:
        return note("index", f"there is no index {path} yet", "`convstore serve` or `convstore index sync` creates it")
    except OSError as error:
        return problem("index", f"{path} cannot be examined ({error.strerror})", ELSEWHERE)
    return problem("index", f"{path} is damaged and must be rebuilt", _REBUILD) if is_marked_damaged(path) else None


async def _check_index(settings: Settings, sample: int) -> AsyncIterator[Finding]:
    index = make_index(settings, readers=1)
    try:
        await index.open()
        try:
            if settings.index_server is None:
                yield await _check_pragmas(index)
            async for finding in _check_state(index, settings):
                yield finding
            async for finding in _list_unreadable(index):
                yield finding
            yield await _check_clocks(index, settings)
            yield await _compare_with_files(index, settings, sample)
        finally:
            await index.close()
    except IndexUnusable as error:
        yield _report_unusable(error)


def _report_unusable(error: IndexUnusable) -> Finding:
    return problem("index", str(error), _REBUILD if isinstance(error, IndexDamaged) else ELSEWHERE)


async def _check_pragmas(index: Index) -> Finding:
    async with index.read() as connection:
        found = await integrity.read_pragmas(connection)
    wrong = [
        f"{name} is {found[name]}, not {value}" for name, value in integrity.EXPECTED.items() if found[name] != value
    ]
    if wrong:
        return problem("pragmas", "; ".join(wrong), "another program changed the index; stop it, and restart convstore")
    return ok("pragmas", ", ".join(f"{name} {value}" for name, value in found.items()))


async def _check_state(index: Index, settings: Settings) -> AsyncIterator[Finding]:
    async with index.read() as connection:
        state = await index_state.get_state(connection)
        totals = await conversation_lookup.count_totals(connection)
        dirty = await conversation_lookup.list_dirty(connection)
    swept = f"compared with the files at {format_us(state.last_sweep_at)}" if state.last_sweep_at else "never compared"
    yield ok("index", f"{totals.conversations:,} conversations, {swept}")
    if state.last_error:
        yield problem("index", state.last_error, "correct the cause; a running server then continues by itself")
    if await asyncio.to_thread(has_leader_elsewhere, index):
        yield ok("server", "a server keeps the index up to date")
    else:
        yield note(
            "server", "no server keeps the index up to date", "`convstore serve` follows changes; commands sync first"
        )
    dead = {one.dirty_by for one in dirty if one.dirty_by and not liveness.is_alive(settings.root, one.dirty_by)}
    left_open = [dashed(one.id) for one in dirty if one.dirty_by in dead]
    if left_open:
        yield note(
            "crash",
            f"{len(left_open)} conversations were open when their convstore ended: {', '.join(left_open[:3])}",
            "a starting server, or the next writer, repairs them",
        )


async def _list_unreadable(index: Index) -> AsyncIterator[Finding]:
    async with index.read() as connection:
        number = (await conversation_lookup.count_totals(connection)).unreadable
        found = await conversation_lookup.list_unreadable(connection, _SHOWN)
    if not number:
        yield ok("unreadable", "none")
    for conversation_id, reason in found:
        name = dashed(conversation_id)
        advice = (
            "let this user read it: change its owner or mode" if _FORBIDDEN in reason else f"`convstore repair {name}`"
        )
        yield problem("unreadable", f"{name}: {reason}", advice)
    if number > len(found):
        yield problem("unreadable", f"{number - len(found)} more", "`convstore list --unreadable` lists them")


async def _check_clocks(index: Index, settings: Settings) -> Finding:
    latest_us = time.time_ns() // 1000 + AHEAD_MAX_US
    async with index.read() as connection:
        by_events = await consistency.list_ahead(connection, latest_us)
    ahead = sorted({*by_events, *await asyncio.to_thread(list_future_conversations, settings.root, latest_us)})
    if not ahead:
        return ok("clocks", "no conversation has a time in the future")
    shown = ", ".join(map(dashed, ahead[:3])) + (" and others" if len(ahead) > 3 else "")
    return note(
        "clocks",
        f"{len(ahead)} conversations have a time more than a day in the future: {shown}",
        "correct the clocks of the programs that wrote them; convstore uses the times of their files instead",
    )


async def _compare_with_files(index: Index, settings: Settings, sample: int) -> Finding:
    context = StoreContext(index, make_reader(settings))
    try:
        await adopt_index_settings(context)
        found = [difference async for difference in verify(context, sample=sample)]
    except IndexBusy as error:
        return note("files", "not compared with the index", str(error))
    if not found:
        return ok("files", f"the names of all conversations, and {sample} of them in full, agree with the index")
    shown = "; ".join(
        f"{one.conversation} {one.what}: {one.in_index}, in the files {one.in_files}" for one in found[:3]
    )
    more = f" and {len(found) - 3} more differences" if len(found) > 3 else ""
    return problem("files", f"{shown}{more}", "`convstore index sync`, then `convstore index verify --fix`")
