"""Exports that a server makes as files, so that a client can download one in parts and continue a broken download.

All processes of a store share the directory `exports` beside the index. Each export has an id, and its files are named
by it: `ID.json` is its state, and `ID.data` is the archive. The process that makes an export locks the archive until it
has written the last state. So an unfinished archive without a lock was left by a process that ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import orjson

from ...errors import DiskFull, ExportFailed, ExportNotFound, ExportsFull, StoreError, UnreadableFile
from ...files import durable, layout
from ...files.archive.export_formats import Encoder
from ...files.layout import ConversationDir
from ...locks import SHARED, is_named, lock_file, try_lock
from ...model.archive_format import ExportFormat
from ...model.ids import dashed
from ..read.reader import StoreReader
from .archive_export import ExportReport, export

log = logging.getLogger(__name__)

EXPORTS = "exports"
EXPORTS_MAX = 100
_HOUR_US = 3600 * 1_000_000
_CHECK_BYTES = 8 << 20
"""The limits are checked each time that so many bytes were written."""

_RESERVE_BYTES = 256 << 20
_RESERVE_SHARE = 20
"""An export leaves so many bytes of the disk free, or one part in so many of a small disk, for the index."""

_UNKNOWN_S = 3600.0
"""A file without a state that is older than this was left by a killed process."""

_LEFT_OUT_MAX = 100
_match_id = re.compile(r"[0-9a-f]{32}").fullmatch
_STOPPED = "the server ended while it made this export; request it again"


class Phase(StrEnum):
    """Whether an export is still being made."""

    MAKING = "making"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ExportFile:
    """An export that was made as a file, or is being made. `error` and its `code` say why it failed.

    `left_out` has the first hundred files that are not in it: `{conversation, name, reason}`.
    """

    id: str
    format: ExportFormat
    phase: Phase
    created_at_us: int
    expires_at_us: int | None = None
    conversations: int = 0
    size_bytes: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    code: str | None = None
    error: str | None = None


class _RemovedError(Exception):
    """The export was removed while it was being made."""


class _StoppedError(Exception):
    """The server ends."""


class ExportFiles:
    """The exports of a store, and the tasks that make some of them in this process."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._directory = store.settings.state_dir / EXPORTS
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def make(
        self, named: AsyncIterator[ConversationDir], kind: ExportFormat, encoder: Encoder | None
    ) -> ExportFile:
        """Begin to make an export, and return it. It is finished behind the answer.

        Raises:
            ExportsFull: there are too many exports, or they have too many bytes.
            DiskFull, WriteFailed: it cannot be written.
            StoreUnavailable: the store's disk is not mounted.
        """
        self._store.index.require_present()
        made, descriptor = await asyncio.to_thread(self._begin, kind)
        task = asyncio.create_task(self._work(made, descriptor, named, encoder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return made

    async def list_exports(self) -> list[ExportFile]:
        """Return all exports that have not expired, the newest first."""
        return await asyncio.to_thread(_list_exports, self._directory)

    async def find(self, export_id: str) -> tuple[ExportFile, Path]:
        """Return an export, and the path of its archive.

        Raises:
            ExportNotFound: there is none with this id, or it has expired.
        """
        found = await asyncio.to_thread(_read, self._directory, export_id) if _match_id(export_id) else None
        if found is None or _is_expired(found):
            raise ExportNotFound("no export has this id; GET /api/exports lists them, and each is removed after a time")
        return found, self._data(found)

    async def remove(self, export_id: str) -> None:
        """Remove an export. If it is being made, that ends.

        Raises:
            ExportNotFound: there is none with this id.
        """
        await self.find(export_id)
        await asyncio.to_thread(_remove, self._directory, export_id)

    async def close(self) -> None:
        """End the tasks of this process, between two writes. What they were making fails."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, kind: ExportFormat) -> tuple[ExportFile, int]:
        """Return a new export and the descriptor of its archive, which is locked."""
        remove_expired(self._directory)
        with durable.explain_errors("the export"):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._require_room()
            made = self._from_now(ExportFile(secrets.token_hex(16), kind, Phase.MAKING, time.time_ns() // 1000))
            descriptor = lock_file(self._data(made), timeout_s=0)
            assert descriptor is not None  # noqa: S101 - no other process knows the name
            try:
                self._write(made)
            except BaseException:
                os.close(descriptor)
                _remove(self._directory, made.id)
                raise
        return made, descriptor

    async def _work(
        self, made: ExportFile, descriptor: int, named: AsyncIterator[ConversationDir], encoder: Encoder | None
    ) -> None:
        report = ExportReport()
        try:
            await self._write_archive(made, descriptor, named, encoder, report)
            await asyncio.to_thread(self._finish, made, descriptor, report)
        except _RemovedError:
            log.info("the export %s was removed while it was being made", made.id)
        except _StoppedError:
            await asyncio.to_thread(self._fail, made, ExportFailed.code, _STOPPED)
        except StoreError as error:
            await asyncio.to_thread(self._fail, made, error.code, str(error))
        except Exception:
            log.exception("the export %s failed", made.id)
            told = "an unexpected error; the server's log has it"
            await asyncio.to_thread(self._fail, made, "internal_error", told)
        finally:
            os.close(descriptor)
            for conversation_id, left_out in report.left_out:
                log.warning("export of %s leaves out %s: %s", conversation_id, left_out.name, left_out.reason)

    async def _write_archive(
        self,
        made: ExportFile,
        descriptor: int,
        named: AsyncIterator[ConversationDir],
        encoder: Encoder | None,
        report: ExportReport,
    ) -> None:
        chunks = export(self._store.reader, named, made.format, report, encoder=encoder)
        append = _Appender(descriptor, self._data(made), self._require_room).append
        async with aclosing(chunks):
            async for chunk in chunks:
                await asyncio.to_thread(append, chunk)  # not cancelled, because its thread would write on
                if self._closing:
                    raise _StoppedError
        if report.unread and not report.conversations:
            raise UnreadableFile(f"nothing could be exported: {report.left_out[-1][1].reason}")

    def _finish(self, made: ExportFile, descriptor: int, report: ExportReport) -> None:
        with durable.explain_errors("the export"):
            os.fsync(descriptor)
            if not is_named(descriptor, self._data(made)):
                raise _RemovedError
            told = [
                {"conversation": dashed(one), **left_out._asdict()} for one, left_out in report.left_out[:_LEFT_OUT_MAX]
            ]
            self._write(
                replace(
                    self._from_now(made),
                    phase=Phase.DONE,
                    conversations=report.conversations,
                    size_bytes=report.size_bytes,
                    left_out=told,
                )
            )

    def _fail(self, made: ExportFile, code: str, told: str) -> None:
        """Empty the archive, which makes room on a full disk, write the reason, and remove the archive.

        While the locked archive is there, others see an export that is being made.
        """
        log.warning("the export %s failed: %s", made.id, told)
        if not (self._directory / f"{made.id}.json").exists():
            return
        with suppress(FileNotFoundError):
            os.truncate(self._data(made), 0)
        try:
            self._write(replace(self._from_now(made), phase=Phase.FAILED, code=code, error=told))
        except OSError as error:
            log.warning("the reason could not be written: %s", error)
        self._data(made).unlink(missing_ok=True)

    def _from_now(self, made: ExportFile) -> ExportFile:
        """Return the export with its time of expiry counted from now."""
        return replace(made, expires_at_us=time.time_ns() // 1000 + int(self._store.settings.export_hours * _HOUR_US))

    def _data(self, made: ExportFile) -> Path:
        return self._directory / f"{made.id}.data"

    def _write(self, made: ExportFile) -> None:
        with layout.open_directory(self._directory) as fd:
            durable.replace(fd, f"{made.id}.json", orjson.dumps(asdict(made)))

    def _require_room(self) -> None:
        """Check the number of exports, their size, and the free space."""
        limit = self._store.settings.export_max_bytes
        number, size_bytes = 0, 0
        for entry in os.scandir(self._directory):
            number += entry.name.endswith(".json")
            with suppress(FileNotFoundError):
                size_bytes += entry.stat(follow_symlinks=False).st_size
        if number > EXPORTS_MAX or size_bytes >= limit:
            raise ExportsFull(
                f"there are {number} exports of {size_bytes:,} bytes; at most {EXPORTS_MAX} and {limit:,} bytes "
                "(CONVSTORE_EXPORT_MAX_BYTES) are kept. Remove one with DELETE /api/exports/{id}, or export less"
            )
        disk = os.statvfs(self._directory)
        reserve = min(_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _RESERVE_SHARE)
        if disk.f_bavail * disk.f_frsize < reserve:
            raise DiskFull(
                f"the export would leave less than {reserve:,} bytes of the disk free, which the index needs. "
                "Remove other exports, or use `convstore export` with an --output on another disk"
            )


class _Appender:
    """Appends to an archive, and checks the limits from time to time."""

    def __init__(self, descriptor: int, path: Path, check: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._path = path
        self._check = check
        self._unchecked = 0

    def append(self, data: bytes) -> None:
        with durable.explain_errors("the export"):
            durable.write_all(self._descriptor, data)
            self._unchecked += len(data)
            if self._unchecked >= _CHECK_BYTES:
                self._unchecked = 0
                if not is_named(self._descriptor, self._path):
                    raise _RemovedError
                self._check()


def _list_exports(directory: Path) -> list[ExportFile]:
    found = [_read(directory, export_id) for export_id in _list_ids(directory)]
    living = [one for one in found if one is not None and not _is_expired(one)]
    return sorted(living, key=lambda one: (one.created_at_us, one.id), reverse=True)


def remove_expired(directory: Path) -> None:
    """Remove exports that have expired, and what killed processes left."""
    for export_id in _list_ids(directory):
        found = _read(directory, export_id)
        if found is not None and _is_expired(found):
            _remove(directory, export_id)
        elif found is not None and found.phase is Phase.FAILED:
            (directory / f"{export_id}.data").unlink(missing_ok=True)
    for path in directory.glob("*"):
        if not path.with_suffix(".json").exists():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _UNKNOWN_S:
                    path.unlink()


def remove_exports(directory: Path) -> None:
    """Remove all exports. Those that are being made end."""
    for export_id in _list_ids(directory):
        _remove(directory, export_id)


def _list_ids(directory: Path) -> list[str]:
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and _match_id(name[:-5])]


def _read(directory: Path, export_id: str) -> ExportFile | None:
    """Return an export. While it is being made, it has the size of its archive so far, and does not expire.

    Its maker unlocks the archive after it wrote the last state. So the state is read after the lock was tried.
    """
    size_bytes = _find_locked_bytes(directory / f"{export_id}.data")
    try:
        known = ExportFile(**orjson.loads((directory / f"{export_id}.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    known = replace(known, format=ExportFormat(known.format), phase=Phase(known.phase))
    if known.phase is not Phase.MAKING:
        return known
    if size_bytes is not None:
        return replace(known, size_bytes=size_bytes, expires_at_us=None)
    return replace(known, phase=Phase.FAILED, code=ExportFailed.code, error=_STOPPED)


def _find_locked_bytes(archive: Path) -> int | None:
    """Return the size of an archive that a process is making, or None."""
    try:
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return None if try_lock(descriptor, SHARED) else os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _is_expired(one: ExportFile) -> bool:
    return one.expires_at_us is not None and one.expires_at_us <= time.time_ns() // 1000


def _remove(directory: Path, export_id: str) -> None:
    """Remove the files of an export, its state last."""
    for path in sorted(directory.glob(f"{export_id}.*"), key=lambda path: path.suffix == ".json"):
        path.unlink(missing_ok=True)
