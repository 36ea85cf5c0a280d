"""Lending a conversation to a client, who writes to it under a lease of its own through this server."""

from __future__ import annotations

from contextlib import suppress

from app.errors import StoreError, UnreadableFile
from app.files import lease, releasing
from app.files.lease import Lease
from app.files.metadata_reader import Reader
from app.files.open_conversation import OpenFiles
from app.model.ids import ConversationId


def lend(
    reader: Reader,
    directory: str,
    conversation_id: ConversationId,
    owner: str,
    *,
    ttl_s: float,
    force: bool,
    over: str | None,
) -> Lease:
    """Claim a conversation for a client and return the lease, after HEAD was put right if the owner before crashed.

    `over` is the server who lends, of which another worker may have the conversation open.

    Raises:
        ConversationNotFound: there is no such directory.
        ConversationOwned: another owner has it; `force` takes it over.
        UnreadableFile, LockTimeout, DiskFull, WriteFailed: HEAD could not be put right now; nobody got the lease.
    """
    claimed = lease.claim(reader.root, directory, owner, ttl_s=ttl_s, force=force, boot="", over=over)
    mine, before, _ = claimed
    if before is not None and not before.released and before.owner != owner:
        try:
            OpenFiles(reader, directory, conversation_id, mine).load(after_crash=True)
        except StoreError as error:
            if not isinstance(error, UnreadableFile) or error.failed:
                with suppress(StoreError):
                    releasing.undo_claim(reader.root, directory, claimed)
                raise
    return mine
