"""Whether title and tags of a conversation could be set, for those who only try."""

from __future__ import annotations

import asyncio
from functools import partial

from app.errors import ConversationNotFound
from app.files import layout, metadata_reader
from app.files.edit import Tagging
from app.files.metadata_reader import Reader
from app.index.sqlite.database import Index
from app.model.conversation import ConversationFiles
from app.model.ids import ConversationId, dashed
from app.model.validation import check_tags, find_tags
from app.store.read.lookup import get_directory
from app.store.write.deletion import require_deletable


async def require_writable(
    index: Index, reader: Reader, conversation_id: ConversationId, instance: str
) -> ConversationFiles:
    """Make sure that title and tags could be set, and return what the files hold. Changes nothing.

    Raises:
        ConversationNotFound, ConversationOwned, UnreadableFile: as the change would.
    """
    await require_deletable(index, reader.root, conversation_id, instance)  # who may delete it may write to it
    directory = await get_directory(index, reader.root, conversation_id)
    read = partial(metadata_reader.read_conversation, reader, directory, conversation_id, with_log=False)
    files = await asyncio.to_thread(read)
    if files is None:
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
    torn = files.meta is None and any(problem.startswith(layout.META) for problem in files.problems)
    if files.failed or files.state is None or torn:
        raise metadata_reader.unwritable(directory, files)
    return files


async def require_taggable(
    index: Index, reader: Reader, conversation_id: ConversationId, instance: str, change: Tagging
) -> None:
    """Make sure that the tags could be changed. Changes nothing.

    Raises:
        ConversationNotFound, ConversationOwned, UnreadableFile, InvalidConversation: as the change would.
    """
    check_tags(change(find_tags(await require_writable(index, reader, conversation_id, instance))))
