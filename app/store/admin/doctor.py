"""The doctor: checks a store, and reports each problem with the next step. It repairs nothing and creates no index.

The first checks need no index: versions, disks, permissions, leases, the trash, leftovers.
"""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from ...errors import IndexBusy, IndexDamaged, IndexUnusable, StoreError, StoreUnavailable
from ...exclusive_rename import find_way
from ...files import durable, layout, lease, liveness, staging, trash
from ...files.census import Foreign, describe, take_census
from ...files.layout import LEASE
from ...files.metadata_reader import list_future_conversations
from ...filesystem import FileSystem, find_file_system
from ...index import consistency, conversation_lookup
from ...index import state as index_state
from ...index.engine import Index
from ...index.opening import examine_schema, make_index
from ...index.sqlite import integrity, migrations
from ...index.sqlite.migrations import HEAD, read_revision
from ...index.sqlite.replace_index import is_marked_damaged
from ...locks import SHARED, NoLocks, try_lock
from ...model.ids import dashed
from ...model.times import AHEAD_MAX_US, format_us
from ...settings import Settings
from ..context import StoreContext, make_reader, require_directory
from ..follow.derivation import adopt_index_settings
from ..follow.leader import has_leader_elsewhere
from ..follow.verify import verify

_SHOWN = 10
_FORBIDDEN = os.strerror(errno.EACCES)
"""The start of a reason that `convstore repair` cannot remove."""
_REBUILD = "`convstore index rebuild`; a running server, or any command, also rebuilds a damaged index by itself"
_SPARE_BYTES = 256 << 20
_SPARE_INODES = 10_000
_WRITTEN_BYTES = 1 << 16
_MB = 1_000_000
_STAGING = (".new-", ".import-")
_OLD_S = 3600

ELSEWHERE = "make its directory readable and writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"


class Level(StrEnum):
    """The result of a check. A note needs no action."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """The name of a check, its result, and the next step ("" for none)."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Level.OK, found)


def note(check: str, found: str, advice: str = "") -> Finding:
    """Return a finding that is informative but needs no action."""
    return Finding(check, Level.NOTE, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding that needs action."""
    return Finding(check, Level.PROBLEM, found, advice)


async def examine_store(settings: Settings, version: str, *, sample: int) -> AsyncIterator[Finding]:
    """Yield all findings. `sample` randomly chosen conversations are compared with their rows.

    Raises:
        StoreUnavailable: the conversations directory is missing or cannot be read.
    """
    await asyncio.to_thread(require_directory, settings)
    for finding in await asyncio.to_thread(lambda: list(look_around(settings, version))):
        yield finding
    if settings.index_server is not None:
        yield await asyncio.to_thread(_check_trigrams, settings)
    check = partial(_check_server, settings) if settings.index_server else partial(_check_schema, settings.index_path)
    schema = await asyncio.to_thread(check)
    yield schema
    if not schema.advice:
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


def _check_server(settings: Settings) -> Finding:
    """Check the schema of an index in PostgreSQL. If it cannot be opened, the finding has a next step."""
    try:
        schema = examine_schema(settings)
    except IndexUnusable as error:
        return problem("index", str(error), "check the server and CONVSTORE_INDEX_URL")
    if schema.revision is None:
        return note(
            "index", f"there is no index {schema.place} yet", "`convstore serve` or `convstore index sync` creates it"
        )
    if schema.faults:
        return problem("schema", "; ".join(schema.faults[:3]), "`convstore db upgrade`")
    return ok("schema", f"{schema.revision}, sound, in {schema.place}, PostgreSQL {schema.version}")


def _check_trigrams(settings: Settings) -> Finding:
    try:
        schema = examine_schema(settings)
    except IndexUnusable as error:
        return note("titles", f"not known: {error}")
    if schema.has_trigrams or schema.revision is None:
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


def look_around(settings: Settings, version: str) -> Iterator[Finding]:
    """Yield the findings of the checks that need no index. `version` is convstore's version."""
    root, index = settings.root, settings.index_path
    yield from _check_versions(version, in_sqlite=settings.index_server is None)
    yield from _check_disks(root, index if settings.index_server is None else None)
    yield from _check_writing(root)
    yield from _check_permissions(settings, root, index)
    yield from _check_foreign(root)
    yield from _check_leases(root)
    yield from _check_trash(root)
    if settings.index_server is None and os.access(index.parent, os.R_OK | os.X_OK):
        yield from _find_index_leftovers(index)
    yield from _find_staging_leftovers(root)


def _check_versions(version: str, *, in_sqlite: bool) -> Iterator[Finding]:
    sqlite = integrity.sqlite_version()
    text = ".".join(map(str, sqlite))
    yield ok("versions", f"convstore {version}, Python {platform.python_version()}, SQLite {text}")
    if in_sqlite and sqlite < integrity.WAL_RESET_FIXED:
        yield note(
            "sqlite",
            f"SQLite {text} has the WAL-reset race (fixed in 3.51.3): two checkpoints at once can lose a commit",
            "convstore avoids it: one checkpoint at a time, under a lock. Do not open the index with other programs",
        )


def _check_disks(root: Path, index: Path | None) -> Iterator[Finding]:
    """Check the disks of the store and of an index in SQLite."""
    store_disk = find_file_system(root)
    if index is None:
        yield _check_space("store disk", store_disk, needed=0)
        return
    index_disk = find_file_system(index.parent)
    if index_disk.network:
        yield problem(
            "index disk",
            f"{index_disk.type}: a network file system, where SQLite's locks are unreliable; convstore refuses it",
            "put the index on a local disk: CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db",
        )
    else:
        yield _check_space("index disk", index_disk, needed=_size_bytes(index))
    yield _check_space("store disk", store_disk, needed=0)
    if store_disk.network:
        yield note(
            "store disk",
            f"{store_disk.type}: a network file system",
            "reading is safe. Write from one machine only, because locks and times differ between machines",
        )


def _check_writing(root: Path) -> Iterator[Finding]:
    """Check that the store's disk has file locks, and report how files can be renamed on it."""
    try:
        with layout.open_directory(root) as fd:
            try_lock(fd, SHARED)
    except NoLocks as error:
        advice = "convstore only reads there; keep the store on a disk with locks to write to it"
        yield problem("locks", f"the store's disk has no file locks ({error.strerror})", advice)
    except OSError:
        return  # `_check_permissions` says it
    own = root / staging.OWN_DIRECTORY
    if os.access(own, os.W_OK | os.X_OK):
        try:
            way = find_way(own)
        except OSError as error:
            yield problem("file names", f"no file can be made in {own} ({error.strerror})", "check the disk")
        else:
            yield ok("file names", f"new files get their names by {way.value}")
        yield from _check_room(own)


def _check_room(own: Path) -> Iterator[Finding]:
    """Write a small file. Only this shows a quota: free bytes of the disk say nothing about it."""
    try:
        with TemporaryFile(dir=own) as file:
            file.write(bytes(_WRITTEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if durable.is_full(error):
            yield problem("room", f"nothing can be written to {own.parent}", durable.describe_full(error))


def _check_space(check: str, disk: FileSystem, *, needed: int) -> Finding:
    inodes = "" if disk.free_inodes is None else f", {disk.free_inodes:,} inodes"
    found = f"{disk.type}, {disk.free_bytes // _MB:,} of {disk.size_bytes // _MB:,} MB free{inodes}"
    if disk.free_bytes < needed + _SPARE_BYTES:
        return problem(check, found, f"free some space; a rebuild needs {needed // _MB:,} MB beside the index")
    if disk.free_inodes is not None and disk.free_inodes < _SPARE_INODES:
        return problem(check, found, "each event is a file: delete old conversations, or move them to another disk")
    return ok(check, found)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check_permissions(settings: Settings, root: Path, index: Path) -> Iterator[Finding]:
    if not os.access(root, os.R_OK | os.X_OK):
        yield problem("permissions", f"{root} cannot be read", "run as the user who owns it, or give this user access")
    elif not os.access(root, os.W_OK):
        yield note(
            "permissions", f"{root} cannot be written to", "reading still works; writing and deleting need write access"
        )
    if os.path.exists(index.parent) and not os.access(index.parent, os.W_OK):  # noqa: PTH110 - hidden counts as absent
        yield problem("permissions", f"{index.parent} cannot be written to", ELSEWHERE)
    secret = [(settings.key_path, "the API key")]
    if settings.index_server is None:
        secret.append((index, "titles and texts of all conversations"))
    for path, what in secret:
        if _is_open_to_others(path):
            yield problem("permissions", f"{path} can be read by others; it contains {what}", f"chmod 600 {path}")


def _is_open_to_others(path: Path) -> bool:
    try:
        file, directory = path.stat().st_mode, path.parent.stat().st_mode
    except OSError:
        return False
    return bool(file & (stat.S_IRGRP | stat.S_IROTH) and directory & (stat.S_IXGRP | stat.S_IXOTH))


_FOREIGN = {
    Foreign.V0: "convstore and OpenHands 1 do not read it; keep it, or open it with the OpenHands that wrote it",
    Foreign.LINK: "move the target into the store, or use the target's directory as another store",
    Foreign.TWIN: "lists show the one with meta.json or base_state.json; look into the others, and move them away",
    Foreign.LOCKS: "agent-server leaves them after a deletion; they do no harm",
    Foreign.OTHER: "convstore leaves them alone",
}


def _check_foreign(root: Path) -> Iterator[Finding]:
    census = take_census(root)
    if not any(census.values()):
        yield ok("not listed", "none: every entry is a conversation")
    for kind, text in describe(census).items():
        yield note("not listed", text, _FOREIGN[kind])


def _check_leases(root: Path) -> Iterator[Finding]:
    held: Counter[str] = Counter()
    expired: list[str] = []
    torn: list[str] = []
    for directory in layout.list_directories(root)[0]:
        if not os.path.lexists(f"{root}/{directory}/{LEASE}"):
            continue
        found = _read_lease(root, directory)
        if found is None:
            torn.append(directory)
        elif lease.is_held(root, found):
            held[f"{found.owner}{f' on {found.host}' if found.host else ''}"] += 1
        elif not found.released and found.boot != liveness.boot_id():
            expired.append(directory)
    owners = ", ".join(f"{number} by {owner}" for owner, number in held.most_common(5))
    yield ok("leases", f"{held.total()} conversations are owned now{f': {owners}' if owners else ''}")
    if expired:
        yield note(
            "leases",
            f"{len(expired)} expired without being released by their owners: {_shorten(expired)}",
            "a server crashed or was killed. Nothing to do; the next owner takes over",
        )
    if torn:
        yield problem(
            "leases",
            f"{len(torn)} lease files cannot be read: {_shorten(torn)}",
            "agent-server treats such a conversation as free: stop all servers but one, and let that one open them",
        )


def _read_lease(root: Path, directory: str) -> lease.Lease | None:
    try:
        with layout.open_directory(root / directory) as fd:
            return lease.read_lease(fd)
    except OSError:
        return None


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_trash(root: Path) -> Iterator[Finding]:
    try:
        entries, leftovers = trash.list_trash(root), trash.list_leftovers(root)
    except StoreUnavailable as error:
        yield problem("trash", str(error), "make it readable and writable for the users that run convstore")
        return
    if entries:
        oldest = format_us(entries[-1].deleted_at_us)
        yield ok("trash", f"{len(entries)} conversations, the oldest of {oldest}")
    else:
        yield ok("trash", "empty")
    if leftovers:
        yield note(
            "trash",
            f"{len(leftovers)} incomplete copies or half-removed conversations after a crash: {_shorten(leftovers)}",
            "a running server removes them, and so does `convstore trash empty`",
        )


def _find_index_leftovers(index: Path) -> Iterator[Finding]:
    named = index.parent.glob(f"{index.name}.damaged-*")
    damaged = [path for path in named if not path.name.endswith(("-wal", "-shm"))]
    if damaged:
        size_mb = sum(_size_bytes(path) for path in damaged) // _MB
        names = _shorten([path.name for path in damaged])
        yield note(
            "leftovers",
            f"{len(damaged)} damaged indexes were set aside, {size_mb:,} MB: {names}",
            f"delete them if nobody needs to investigate the damage: rm {index}.damaged-*",
        )
    if index.with_name("rebuild.db").exists():
        yield note("leftovers", "a rebuild is running or was interrupted", "`convstore index rebuild` continues it")


def _find_staging_leftovers(root: Path) -> Iterator[Finding]:
    before_s = time.time() - _OLD_S
    staged = [path for prefix in _STAGING for path in root.glob(f"{prefix}*") if staging.is_staging(path.name, prefix)]
    leftovers = [path for path in staged if _changed_s(path) < before_s]
    if leftovers:
        yield note(
            "leftovers",
            f"{len(leftovers)} incomplete conversations after a crash: {_shorten([path.name for path in leftovers])}",
            "these directories are not conversations and can be deleted",
        )


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
