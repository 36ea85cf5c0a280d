"""The backlog: rows that could not be written after the files.

The request gets a warning, and the rows are written later. A file that was renamed into place cannot be undone, so a
write does not fail if the index is busy afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from ...errors import IndexBusy, StoreError
from ...files import lease
from ...files.layout import ConversationDir
from ...index import ownership
from ...index.ownership import Ownership
from ...model.ids import ConversationId
from ..context import StoreContext
from ..follow.ingest import delete_empty, ingest
from ..follow.watcher import ownership_of

log = logging.getLogger(__name__)

_RETRY_S = 0.5
"""The pause between two attempts. An attempt itself waits for the index, so most succeed as soon as it is free."""
_BATCH = 50


class Done(NamedTuple):
    """A durable change.

    `warning` is set if the index does not show the change yet; the index is updated automatically.
    """

    warning: str | None = None


class Created(NamedTuple):
    """A conversation on disk, and whether this request created it. `warning`: see `Done`."""

    id: ConversationId
    is_new: bool
    warning: str | None = None


class Warned(Protocol):
    """A result with a warning."""

    @property
    def warning(self) -> str | None:
        """A text if the index does not show the change yet, otherwise None."""


def find_warning(results: Iterable[Warned]) -> str | None:
    """Return the first warning, or None."""
    return next((result.warning for result in results if result.warning is not None), None)


def warning_of(error: StoreError) -> str:
    """Return the warning for a change that is on disk but not in the index. The client must not repeat the request."""
    reason = "the index is busy" if isinstance(error, IndexBusy) else str(error)
    return f"saved on disk, but not yet in the index: {reason}. The index will be updated; do not repeat the request"


_Write = Callable[[Sequence[ConversationDir]], Awaitable[None]]


class Backlog:
    """The conversations of a store whose rows could not be written, and the task that retries."""

    def __init__(self, context: StoreContext, notify: Callable[[ConversationId], None]) -> None:
        self._context = context
        self._notify = notify
        self._pending: dict[_Write, dict[ConversationDir, None]] = {}
        """For each write method, the conversations to call it with again."""
        self._task: asyncio.Task[None] | None = None

    async def upsert_rows(self, directories: Sequence[ConversationDir]) -> Done:
        """Write the rows of conversations whose files were just written."""
        return await self._try(self._ingest, directories)

    async def copy_rows(self, source: ConversationId, copy: ConversationDir) -> Done:
        """Write the rows of a conversation whose log was just copied from `source`."""
        return await self._try(partial(self._ingest, copied_from=source), [copy])

    async def rewrite_rows(self, directory: ConversationDir) -> Done:
        """Write all rows of a conversation again, including those of known events."""
        return await self._try(self._ingest_every_event, [directory])

    async def delete_rows(self, directories: Sequence[ConversationDir]) -> Done:
        """Delete the rows of conversations whose directories were just moved away."""
        return await self._try(self._delete_empty, directories)

    async def show_owner(self, directory: ConversationDir) -> Done:
        """Write the current owner of a conversation's lease into the index."""
        return await self._try(self._set_owners, [directory])

    async def close(self) -> None:
        """Stop retrying. The next sync or sweep finds the rows that are still missing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _try(self, write: _Write, directories: Sequence[ConversationDir]) -> Done:
        if not directories:
            return Done()
        try:
            await write(directories)
        except StoreError as error:
            self._retry_later(write, directories)
            ids = ", ".join(directory.id for directory in directories)
            log.info("not yet in the index, retrying: %s: %s", ids, error)
            return Done(warning_of(error))
        except asyncio.CancelledError:
            self._retry_later(write, directories)
            raise
        return Done()

    def _retry_later(self, write: _Write, directories: Iterable[ConversationDir]) -> None:
        self._pending.setdefault(write, {}).update(dict.fromkeys(directories))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry_all())

    async def _retry_all(self) -> None:
        while self._pending:
            await asyncio.sleep(_RETRY_S)
            for write in list(self._pending):
                directories = list(self._pending.pop(write))
                while batch := directories[:_BATCH]:
                    try:
                        await write(batch)
                    except StoreError:  # the first attempt logged the error
                        self._pending.setdefault(write, {}).update(dict.fromkeys(directories))
                        break
                    del directories[:_BATCH]
                    for directory in batch:
                        self._notify(directory.id)

    async def _ingest(
        self, directories: Sequence[ConversationDir], *, copied_from: ConversationId | None = None
    ) -> None:
        await ingest(self._context, directories, copied_from=copied_from)

    async def _ingest_every_event(self, directories: Sequence[ConversationDir]) -> None:
        await ingest(self._context, directories, every_event=True)

    async def _delete_empty(self, directories: Sequence[ConversationDir]) -> None:
        await self._context.index.write(partial(delete_empty, reader=self._context.reader, directories=directories))

    async def _set_owners(self, directories: Sequence[ConversationDir]) -> None:
        owners = await asyncio.to_thread(self._read_owners, directories)
        await self._context.index.write(partial(ownership.set_owners, owned=owners))

    def _read_owners(self, directories: Sequence[ConversationDir]) -> list[Ownership]:
        root = self._context.root
        return [ownership_of(one.id, lease.find_holder(root, one.directory)) for one in directories]
