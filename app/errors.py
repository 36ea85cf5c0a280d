"""All errors that convstore raises on purpose.

Each error has a code. `app.api` maps codes to HTTP statuses, and `app.cli` maps them to exit codes. A message says what
is wrong, with what, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base class of all errors that a caller can expect. `code` is stable; the message is for people."""

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
    """The page token is damaged, of another version, or belongs to another query."""

    code = "invalid_page_token"


class InvalidFacet(StoreError):
    """The requested facet is not one that conversations can be counted by."""

    code = "invalid_facet"


class ChangesGone(StoreError):
    """The changes since a token of the change feed are no longer known; the client must list everything again."""

    code = "changes_gone"


class InvalidSettings(StoreError):
    """A setting has a value that cannot work."""

    code = "invalid_settings"


class StoreUnavailable(StoreError):
    """The conversations directory is missing, unreadable or unexpectedly empty."""

    code = "store_unavailable"


class SchemaTooNew(StoreError):
    """The index was made by a newer convstore than this one."""

    code = "schema_too_new"


class IndexUnusable(StoreError):
    """The index file cannot be opened, or is not a convstore index."""

    code = "index_unusable"


class IndexDamaged(IndexUnusable):
    """The index file is not a database, or its content is damaged. It must be built again."""

    code = "index_damaged"


class MigrationFailed(StoreError):
    """A schema migration failed or was refused. The index is as it was before that step."""

    code = "migration_failed"


class IndexRebuilding(StoreError):
    """The index was damaged and is being built again. It does not know all conversations yet."""

    code = "index_rebuilding"


class IndexBusy(StoreError):
    """Another process holds the index's writer lock for longer than the timeout, or derives rows in an unknown way."""

    code = "index_busy"


class QueryTooSlow(StoreError):
    """A search took longer than its time limit and was stopped."""

    code = "query_too_slow"


class SyncRunning(StoreError):
    """Another process is bringing this index up to date."""

    code = "sync_running"


class TooManyFollowers(StoreError):
    """The process has as many followers as the settings allow."""

    code = "too_many_followers"


class RebuildRefused(StoreError):
    """The result of a rebuild is empty or mostly unreadable, and did not replace the index."""

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


class UnreadableFile(StoreError):
    """A file of a conversation cannot be read. The message is the reason shown to users.

    `failed` is true if the operating system refused, which may pass, and false if the content is wrong.
    """

    code = "unreadable_file"

    def __init__(self, reason: str, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.failed = failed


class LockTimeout(StoreError):
    """Another program holds a conversation's lock for longer than the timeout."""

    code = "lock_timeout"


class ConversationOwned(StoreError):
    """Another living owner has the conversation."""

    code = "conversation_owned"


class OwnershipLost(StoreError):
    """Another owner has taken the conversation over; the change was not written."""

    code = "ownership_lost"


class ConversationExists(StoreError):
    """A conversation has this id already."""

    code = "conversation_exists"


class DirectoryTaken(StoreError):
    """Something that is not a conversation has the directory name of this id."""

    code = "directory_taken"


class DiskFull(StoreError):
    """The disk has no space for the change; nothing changed."""

    code = "disk_full"


class WriteFailed(StoreError):
    """The operating system refused a write; the change is not acknowledged."""

    code = "write_failed"


class NotInTrash(StoreError):
    """The trash has no entry of this name or id."""

    code = "not_in_trash"


class UnexpectedCount(StoreError):
    """A request would change another number of conversations than it states, or many and it states no number."""

    code = "unexpected_count"


class InvalidEvent(StoreError):
    """An event to be written has a missing or wrong field."""

    code = "invalid_event"


class EventExists(StoreError):
    """The conversation has an event with this id already."""

    code = "event_exists"


class InvalidConversation(StoreError):
    """A field to be set on a conversation has a value that agent-server would not accept."""

    code = "invalid_conversation"


class NeedsAgent(StoreError):
    """The request needs an agent, and convstore runs none."""

    code = "needs_agent"
