"""The part of a doctor's look that needs no index: versions, disks, permissions, leases, the trash, what was left."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.errors import StoreUnavailable
from app.files import layout, lease, liveness, staging, trash
from app.files.layout import LEASE
from app.filesystem import FileSystem, find_file_system
from app.index import health
from app.model.times import format_us
from app.settings import Settings
from app.store.findings import Finding, note, ok, problem

_SPARE_BYTES = 256 << 20
_SPARE_INODES = 10_000
_MB = 1_000_000
_LEFT = (".new-", ".import-")
_OLD_S = 3600

ELSEWHERE = "make its directory readable and writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"


def look_around(settings: Settings, version: str) -> Iterator[Finding]:
    """Give what is found around the index; `version` is convstore's own."""
    root, index = settings.root, settings.index_path
    yield from _versions(version)
    yield from _disks(root, index)
    yield from _permissions(settings, root, index)
    yield from _leases(root)
    yield from _trash(root)
    if os.access(index.parent, os.R_OK | os.X_OK):
        yield from _beside_the_index(index)
    yield from _leftovers(root)


def _versions(version: str) -> Iterator[Finding]:
    sqlite = health.sqlite_version()
    text = ".".join(map(str, sqlite))
    yield ok("versions", f"convstore {version}, Python {platform.python_version()}, SQLite {text}")
    if sqlite < health.WAL_RESET_FIXED:
        yield note(
            "sqlite",
            f"SQLite {text} has the WAL-reset race (fixed in 3.51.3), in which two checkpoints at once lose a commit",
            "convstore avoids it: one checkpoint at a time, under a lock. Open the index with no other program",
        )


def _disks(root: Path, index: Path) -> Iterator[Finding]:
    of_index, of_store = find_file_system(index.parent), find_file_system(root)
    if of_index.network:
        yield problem(
            "index disk",
            f"{of_index.type}: a network file system, where SQLite's locks cannot be trusted; it is refused",
            "put the index on a local disk: CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db",
        )
    else:
        yield _room("index disk", of_index, needed=_size(index))
    yield _room("store disk", of_store, needed=0)
    if of_store.network:
        yield note(
            "store disk",
            f"{of_store.type}: a network file system",
            "reading is safe. Write from one machine alone: locks and times differ between machines",
        )


def _room(check: str, disk: FileSystem, *, needed: int) -> Finding:
    inodes = "" if disk.free_inodes is None else f", {disk.free_inodes:,} inodes"
    found = f"{disk.type}, {disk.free_bytes // _MB:,} of {disk.size_bytes // _MB:,} MB free{inodes}"
    if disk.free_bytes < needed + _SPARE_BYTES:
        return problem(check, found, f"free some space; a rebuild needs {needed // _MB:,} MB beside the index")
    if disk.free_inodes is not None and disk.free_inodes < _SPARE_INODES:
        return problem(check, found, "each event is a file: delete old conversations, or move them to another disk")
    return ok(check, found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _permissions(settings: Settings, root: Path, index: Path) -> Iterator[Finding]:
    if not os.access(root, os.R_OK | os.X_OK):
        yield problem("permissions", f"{root} cannot be read", "run as the user who owns it, or give this one access")
    elif not os.access(root, os.W_OK):
        yield note("permissions", f"{root} cannot be written to", "reading needs no more; writing and deleting do")
    if os.path.exists(index.parent) and not os.access(index.parent, os.W_OK):  # noqa: PTH110 - hidden counts as absent
        yield problem("permissions", f"{index.parent} cannot be written to", ELSEWHERE)
    for path, what in ((settings.key_path, "the API key"), (index, "titles and texts of all conversations")):
        if _is_open_to_others(path):
            yield problem("permissions", f"{path} can be read by others; it holds {what}", f"chmod 600 {path}")


def _is_open_to_others(path: Path) -> bool:
    try:
        file, directory = path.stat().st_mode, path.parent.stat().st_mode
    except OSError:
        return False
    return bool(file & (stat.S_IRGRP | stat.S_IROTH) and directory & (stat.S_IXGRP | stat.S_IXOTH))


def _leases(root: Path) -> Iterator[Finding]:
    held: Counter[str] = Counter()
    left: list[str] = []
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
            left.append(directory)
    owned = ", ".join(f"{number} by {owner}" for owner, number in held.most_common(5))
    yield ok("leases", f"{held.total()} conversations are owned now{f': {owned}' if owned else ''}")
    if left:
        yield note(
            "leases",
            f"{len(left)} ended by their time, their owners never gave them back: {_some(left)}",
            "a server crashed or was killed. Nothing to do: the next owner takes over",
        )
    if torn:
        yield problem(
            "leases",
            f"{len(torn)} lease files cannot be read: {_some(torn)}",
            "agent-server takes such a conversation for free: end all but one server, and let that one open them",
        )


def _read_lease(root: Path, directory: str) -> lease.Lease | None:
    try:
        with layout.open_directory(root / directory) as fd:
            return lease.read_lease(fd)
    except OSError:
        return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _trash(root: Path) -> Iterator[Finding]:
    try:
        entries, left = trash.list_trash(root), trash.list_left(root)
    except StoreUnavailable as error:
        yield problem("trash", str(error), "make it readable and writable for those that run convstore")
        return
    if entries:
        oldest = format_us(entries[-1].deleted_at_us)
        yield ok("trash", f"{len(entries)} conversations, the oldest of {oldest}")
    else:
        yield ok("trash", "empty")
    if left:
        yield note(
            "trash",
            f"{len(left)} half-made copies or half-removed conversations of a crash: {_some(left)}",
            "a running server removes them, and `convstore trash empty` does",
        )


def _beside_the_index(index: Path) -> Iterator[Finding]:
    aside = [path for path in index.parent.glob(f"{index.name}.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    if aside:
        size = sum(_size(path) for path in aside)
        yield note(
            "leftovers",
            f"{len(aside)} damaged indexes were set aside, {size // _MB:,} MB: {_some([path.name for path in aside])}",
            f"delete them when nobody wants to look into what happened: rm {index}.damaged-*",
        )
    if index.with_name("rebuild.db").exists():
        yield note("leftovers", "a rebuild is running or was interrupted", "`convstore index rebuild` goes on with it")


def _leftovers(root: Path) -> Iterator[Finding]:
    since = time.time() - _OLD_S
    named = [path for prefix in _LEFT for path in root.glob(f"{prefix}*") if staging.is_staging(path.name, prefix)]
    left = [path for path in named if _changed_s(path) < since]
    if left:
        yield note(
            "leftovers",
            f"{len(left)} half-made conversations of a crash: {_some([path.name for path in left])}",
            "they are no conversations and can be deleted",
        )


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
