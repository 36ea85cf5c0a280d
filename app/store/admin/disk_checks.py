"""The checks of the doctor that need no index: versions, disks, permissions, leases, the trash, leftovers."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile

from ...errors import StoreUnavailable
from ...exclusive_rename import find_way
from ...files import durable, layout, lease, liveness, staging, trash
from ...files.census import Foreign, describe, take_census
from ...files.layout import LEASE
from ...filesystem import FileSystem, find_file_system
from ...index.sqlite import integrity
from ...locks import SHARED, NoLocks, try_lock
from ...model.times import format_us
from ...settings import Settings
from .findings import ELSEWHERE, Finding, note, ok, problem

_SPARE_BYTES = 256 << 20
_SPARE_INODES = 10_000
_WRITTEN_BYTES = 1 << 16
_MB = 1_000_000
_STAGING = (".new-", ".import-")
_OLD_S = 3600
_NFS = frozenset({"nfs", "nfs4"})
_NFS_MIN = (4, 1)
_CACHED_S = frozenset({"0", "1"})
_CLOCK_S = 1.0
"""Files whose times are within two seconds of now are read again. So a clock that differs by less does no harm."""


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
        if store_disk.network:
            yield _check_mount(store_disk)
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
            "reading is safe. Write from one machine only, or put the index into PostgreSQL: docs/several-hosts.md",
        )
        yield _check_mount(store_disk)


def _check_mount(disk: FileSystem) -> Finding:
    """Check how a network file system is mounted."""
    options = disk.options
    shown = ", ".join(f"{name}={value}" if value else name for name, value in options.items())
    if disk.type not in _NFS:
        return note("mount", f"{disk.type} ({shown})", "convstore is made for NFS 4.1; others were not tried")
    if "soft" in options or "softerr" in options:
        return problem(
            "mount",
            f"{disk.type} is mounted soft: a write that the server did not confirm in time is lost without an error",
            "mount it with `hard`, and write nothing before",
        )
    if "nolock" in options or options.get("local_lock", "none") != "none":
        return problem("mount", f"{disk.type} has locks that other machines do not see", "mount it without `nolock`")
    if _version_of(options) < _NFS_MIN:
        return problem(
            "mount", f"{disk.type} has version {options.get('vers', '?')}", "mount it with `vers=4.1` or newer"
        )
    if options.get("acregmax") not in _CACHED_S and "noac" not in options:
        advice = "mount it with `actimeo=1`, so that edits of other machines are seen within a second"
        return note("mount", f"{disk.type} ({shown})", advice)
    return ok("mount", f"{disk.type} ({shown})")


def _version_of(options: Mapping[str, str]) -> tuple[int, ...]:
    try:
        return tuple(map(int, options.get("vers", "").split(".")))
    except ValueError:
        return ()


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
            yield _check_clock(os.fstat(file.fileno()).st_mtime)
    except OSError as error:
        if durable.is_full(error):
            yield problem("room", f"nothing can be written to {own.parent}", durable.describe_full(error))


def _check_clock(written_s: float) -> Finding:
    """Compare this machine's clock with that of the store's disk, from which a file just got its time."""
    ahead_s = written_s - time.time()
    if abs(ahead_s) < _CLOCK_S:
        return ok("disk clock", "the times of the store's files are those of this machine's clock")
    return problem(
        "disk clock",
        f"the clock of the store's disk is {abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}",
        "set both clocks by NTP: changes of files may be seen late, and leases of agent-servers end at wrong times",
    )


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
        elif not found.released and found.boot != liveness.boot_of(root):
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
