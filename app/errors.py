"""All errors that convstore raises on purpose.

Each error has a code. `app.api` maps codes to HTTP statuses, and `app.cli` maps them to exit codes. A message says what
was wrong, with what, and what to do next.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class StoreError(Exception):
    """The base class of all expected errors. `code` is stable; the message is for people."""

    code: ClassVar[str] = "store_error"


class ConversationNotFound(StoreError):
    """No conversation has this id, neither in the index nor on disk."""

    code = "conversation_not_found"


class EventNotFound(StoreError):
    """The conversation has no readable event with this id."""

    code = "event_not_found"


class InvalidId(StoreError):
    """The text is not a conversation id (32 hexadecimal digits, with or without dashes)."""

    code = "invalid_id"


class InvalidToken(StoreError):
    """The page token is damaged, from another version, or belongs to another query."""

    code = "invalid_page_token"


class InvalidFacet(StoreError):
    """Conversations cannot be counted by the requested facet."""

    code = "invalid_facet"


class ChangesGone(StoreError):
    """The changes since a change token are no longer known. The client must list everything again."""

    code = "changes_gone"


class InvalidSettings(StoreError):
    """A setting has an invalid value."""

    code = "invalid_settings"


class StoreUnavailable(StoreError):
    """The conversations directory is missing, unreadable or unexpectedly empty."""

    code = "store_unavailable"


class SchemaTooNew(StoreError):
    """A newer convstore made the index."""

    code = "schema_too_new"


class IndexUnusable(StoreError):
    """The index cannot be opened, or is not a convstore index.

    If `away`, its server does not answer now; if also `refused`, it answers, but not to this user with these rights.
    """

    code = "index_unusable"

    def __init__(self, reason: str, *, away: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.away = away
        self.refused = refused


class IndexDamaged(IndexUnusable):
    """The index file is damaged or not a database. It must be rebuilt."""

    code = "index_damaged"


class MigrationFailed(StoreError):
    """A migration failed or was refused. The index is as it was before the failed step."""

    code = "migration_failed"


class IndexRebuilding(StoreError):
    """The index was damaged and is being rebuilt. It does not have all conversations yet."""

    code = "index_rebuilding"


class IndexBuilding(StoreError):
    """The index is being built for the first time and does not list all conversations yet."""

    code = "index_building"


class IndexBusy(StoreError):
    """Another process held the writer lock for longer than the timeout, or fills the index with other settings."""

    code = "index_busy"


class QueryTooSlow(StoreError):
    """A search took longer than its time limit and was stopped."""

    code = "query_too_slow"


class SyncRunning(StoreError):
    """Another process is syncing this index."""

    code = "sync_running"


class TooManyFollowers(StoreError):
    """The process has as many event streams and sockets open as the settings allow."""

    code = "too_many_followers"


class RebuildRefused(StoreError):
    """The rebuilt index is empty or mostly unreadable, so it did not replace the old one."""

    code = "rebuild_refused"


class ArchiveRefused(StoreError):
    """The file to import is damaged, hostile or not an archive; nothing was written."""

    code = "archive_refused"


class ArchiveTooLarge(StoreError):
    """The archive to import is larger than allowed; nothing was written."""

    code = "archive_too_large"


class ImportRunning(StoreError):
    """Another process is importing into this store."""

    code = "import_running"


class OutputRefused(StoreError):
    """An output file cannot be written at the requested path, or the path exists already."""

    code = "output_refused"


class ExportNotFound(StoreError):
    """No export that was made as a file has this id, or it has expired."""

    code = "export_not_found"


class ExportRunning(StoreError):
    """The export is still being made."""

    code = "export_running"


class ExportFailed(StoreError):
    """The export could not be made, and has no file."""

    code = "export_failed"


class ExportsFull(StoreError):
    """The exports that are made as files are too many, or too large."""

    code = "exports_full"


class UnreadableFile(StoreError):
    """A file of a conversation cannot be read. The message is the reason shown to users.

    `failed` is true if the operating system refused, so a retry may succeed, and false if the content is wrong.
    """

    code = "unreadable_file"

    def __init__(self, reason: str, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.failed = failed


class LockTimeout(StoreError):
    """Another program held a conversation's lock for longer than the timeout."""

    code = "lock_timeout"


class LocksUnsupported(StoreError):
    """The file system of the conversations has no file locks, so convstore does not write there."""

    code = "locks_unsupported"


class HostSilent(StoreError):
    """The process could not tell the other hosts that it lives, so it must not write; nothing was written."""

    code = "host_silent"


class OutcomeUnknown(StoreError):
    """The process learned during a write that it may not write, or not any more. The change may have been made."""

    code = "outcome_unknown"


class ConversationOwned(StoreError):
    """Another owner, which is alive, has the conversation."""

    code = "conversation_owned"


class OwnershipLost(StoreError):
    """Another owner has taken over the conversation; the change was not written."""

    code = "ownership_lost"


class ConversationExists(StoreError):
    """The id already has a conversation."""

    code = "conversation_exists"


class DirectoryTaken(StoreError):
    """The directory name of this id is used by something other than a conversation."""

    code = "directory_taken"


class DiskFull(StoreError):
    """The disk has no space for the change; nothing changed."""

    code = "disk_full"


class WriteFailed(StoreError):
    """The operating system refused a write; the change is not acknowledged."""

    code = "write_failed"


class NotInTrash(StoreError):
    """The trash has no entry with this name or id."""

    code = "not_in_trash"


class UnexpectedCount(StoreError):
    """A request would change more or fewer conversations than it states, or many without stating a number."""

    code = "unexpected_count"


class InvalidEvent(StoreError):
    """An event to write has a missing or invalid field."""

    code = "invalid_event"


class EventExists(StoreError):
    """The conversation already has an event with this id."""

    code = "event_exists"


class InvalidConversation(StoreError):
    """agent-server would not accept a value that a request sets on a conversation.

    `problems` lists each wrong value as agent-server lists them, if there is such a list: `{type, loc, msg}`.
    """

    code = "invalid_conversation"

    def __init__(self, message: str, *, problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class ParentRefused(StoreError):
    """The parent of a new conversation does not exist, or has another workspace."""

    code = "parent_refused"


class NeedsAgent(StoreError):
    """The request needs an agent, but convstore runs no agents."""

    code = "needs_agent"


class OutOfMemory(StoreError):
    """A limit of the process's memory or threads was reached."""

    code = "out_of_memory"

    def __init__(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        super().__init__(
            f"there is too little memory ({str(error) or type(error).__name__}); "
            "raise the limit (`ulimit -v`, `ulimit -u`, or the container's)"
        )


class ReadOnlyKey(StoreError):
    """The request would change something, but its key may only read."""

    code = "read_only_key"

    def __init__(self) -> None:
        super().__init__("this key may only read; use a full key to change something")


_NO_MEMORY = ("can't start new thread", "failed to map segment", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a limit of this process's memory or threads caused an error, or all errors of a group.

    Python has MemoryError for its own objects alone, not for threads, libraries and system calls.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_out_of_memory, error.exceptions))
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, ImportError | RuntimeError) and any(told in str(error) for told in _NO_MEMORY)
    )
