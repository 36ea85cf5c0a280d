"""Every error that convstore raises on purpose.

An error carries a code. `app.api` maps codes to HTTP statuses and `app.cli` to exit codes; a message says what was
wrong, with what, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base of all errors that a caller can expect; `code` is stable, the text is for people."""

    code: ClassVar[str] = "store_error"


class ConversationNotFound(StoreError):
    """No conversation has this id, neither in the index nor on disk."""

    code = "conversation_not_found"


class EventNotFound(StoreError):
    """The conversation has no readable event with this id."""

    code = "event_not_found"


class InvalidId(StoreError):
    """The text is no conversation id (32 hexadecimal digits, with or without dashes)."""

    code = "invalid_id"


class InvalidToken(StoreError):
    """The page token is damaged, of another version, or was given out for another query."""

    code = "invalid_page_token"


class InvalidFacet(StoreError):
    """What was to be counted by is nothing that conversations can be counted by."""

    code = "invalid_facet"


class ChangesGone(StoreError):
    """The changes since a token of the change feed are no longer known; everything has to be listed again."""

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
    """The index file cannot be opened or is no convstore index."""

    code = "index_unusable"


class IndexDamaged(IndexUnusable):
    """The index file is no database, or one whose content is damaged; it has to be made again."""

    code = "index_damaged"


class MigrationFailed(StoreError):
    """A change of the schema failed or was refused; the index stands as it was before that step."""

    code = "migration_failed"


class IndexRebuilding(StoreError):
    """The index was damaged and is being built again, so nobody knows yet which conversations there are."""

    code = "index_rebuilding"


class IndexBusy(StoreError):
    """Another process held the index's writer lock for longer than the timeout, or writes rows that this one cannot."""

    code = "index_busy"


class QueryTooSlow(StoreError):
    """A search was stopped, since it took longer than it may."""

    code = "query_too_slow"


class SyncRunning(StoreError):
    """Another process is bringing this index up to date."""

    code = "sync_running"


class TooManyFollowers(StoreError):
    """As many clients follow conversations in this process as the settings allow."""

    code = "too_many_followers"


class RebuildRefused(StoreError):
    """A rebuild gave an empty or mostly unreadable result and was not put in place."""

    code = "rebuild_refused"


class ArchiveRefused(StoreError):
    """What was to be imported is damaged, hostile or no archive; nothing was written."""

    code = "archive_refused"


class ArchiveTooLarge(StoreError):
    """What was to be imported is larger than is allowed; nothing was written."""

    code = "archive_too_large"


class ImportRunning(StoreError):
    """Another process is importing into this store."""

    code = "import_running"


class OutputRefused(StoreError):
    """A file cannot be written where it was asked for, or something else is there."""

    code = "output_refused"


class UnreadableFile(StoreError):
    """A file of a conversation cannot be read; the message is the reason shown to users.

    `failed` says that the operating system refused, which may pass, and not that the content is wrong.
    """

    code = "unreadable_file"

    def __init__(self, reason: str, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.failed = failed


class LockTimeout(StoreError):
    """Another program held a conversation's lock for longer than the timeout."""

    code = "lock_timeout"


class ConversationOwned(StoreError):
    """Another owner, who lives, is writing to the conversation."""

    code = "conversation_owned"


class OwnershipLost(StoreError):
    """Another owner has taken the conversation over; what was to be written is not."""

    code = "ownership_lost"


class ConversationExists(StoreError):
    """There is a conversation of this id already."""

    code = "conversation_exists"


class DirectoryTaken(StoreError):
    """Something that is no conversation stands where the conversation of this id would be."""

    code = "directory_taken"


class DiskFull(StoreError):
    """There is no space left for what was to be written; nothing changed."""

    code = "disk_full"


class WriteFailed(StoreError):
    """The operating system refused a write; what was to be written is not acknowledged."""

    code = "write_failed"


class NotInTrash(StoreError):
    """The trash holds nothing of this name or id."""

    code = "not_in_trash"


class UnexpectedCount(StoreError):
    """A request would change more conversations than it may without saying how many, or another number than it says."""

    code = "unexpected_count"


class InvalidEvent(StoreError):
    """An event to be written lacks what every event has, or has it wrong."""

    code = "invalid_event"


class EventExists(StoreError):
    """The conversation has an event of this id already."""

    code = "event_exists"


class InvalidConversation(StoreError):
    """A field that was to be set on a conversation has a value that agent-server would not accept."""

    code = "invalid_conversation"


class NeedsAgent(StoreError):
    """What was asked for needs an agent, and convstore runs none."""

    code = "needs_agent"
