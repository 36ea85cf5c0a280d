"""Rows that are behind files which stand already: the write is answered with a warning, and the rows are written later.

A file that is in its place cannot be taken back, so an index that is busy then is no failure of the write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from app.errors import IndexBusy, StoreError
from app.files import lease
from app.files.layout import ConversationDir
from app.index import ownership
from app.index.ownership import Ownership
from app.model.ids import ConversationId
from app.store.context import StoreContext
from app.store.follow.ingest import delete_empty, ingest
from app.store.follow.watcher import owned

log = logging.getLogger(__name__)

_RETRY_S = 0.5
"""Pause between two tries. A try itself waits for the index, so that most succeed at the moment the index is free."""
_BATCH = 50


class Done(NamedTuple):
    """A change that is durable. `warning` says what the index does not show yet; it will, without another request."""

    warning: str | None = None


class Created(NamedTuple):
    """A conversation that stands on disk, and whether this request made it. `warning` as in `Done`."""

    id: ConversationId
    is_new: bool
    warning: str | None = None


class Warned(Protocol):
    """What became of one of many."""

    @property
    def warning(self) -> str | None:
        """What the index does not show yet."""


def find_warning(done: Iterable[Warned]) -> str | None:
    """Return the first warning among what was done, if there is one."""
    return next((one.warning for one in done if one.warning is not None), None)


def warning_of(error: StoreError) -> str:
    """Return the warning for a change that is on disk and that the index could not take. It asks for no retry."""
    reason = "the index is busy" if isinstance(error, IndexBusy) else str(error)
    return f"done on disk, but not yet in the index: {reason}. The index follows by itself; do not repeat the request"


_Write = Callable[[Sequence[ConversationDir]], Awaitable[None]]


class Backlog:
    """The conversations of one store whose rows could not be written, and the task that tries again until they are."""

    def __init__(self, context: StoreContext, notify: Callable[[ConversationId], None]) -> None:
        self._context = context
        self._notify = notify
        self._kept: dict[_Write, dict[ConversationDir, None]] = {}
        """By the method that is to be called again, the conversations to call it with."""
        self._task: asyncio.Task[None] | None = None

    async def read_again(self, named: Sequence[ConversationDir]) -> Done:
        """Write the rows of conversations whose files were just written."""
        return await self._try(self._refresh, named)

    async def read_all_again(self, named: ConversationDir) -> Done:
        """Write all rows of a conversation anew, also those of events that the index knows."""
        return await self._try(self._refresh_every_event, [named])

    async def delete_rows(self, named: ConversationDir) -> Done:
        """Delete the rows of a conversation whose directory was just moved away."""
        return await self._try(self._delete_empty, [named])

    async def show_owner(self, named: ConversationDir) -> Done:
        """Have lists show who holds the lease of a conversation now."""
        return await self._try(self._set_owners, [named])

    async def close(self) -> None:
        """Stop trying. What is left is found by the next comparison with the files."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _try(self, write: _Write, named: Sequence[ConversationDir]) -> Done:
        if not named:
            return Done()
        try:
            await write(named)
        except StoreError as error:
            self._keep(write, named)
            log.info("not yet in the index, tried again until it is: %s: %s", ", ".join(one.id for one in named), error)
            return Done(warning_of(error))
        except asyncio.CancelledError:
            self._keep(write, named)
            raise
        return Done()

    def _keep(self, write: _Write, named: Iterable[ConversationDir]) -> None:
        self._kept.setdefault(write, {}).update(dict.fromkeys(named))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._kept:
            await asyncio.sleep(_RETRY_S)
            for write in list(self._kept):
                named = list(self._kept.pop(write))
                while some := named[:_BATCH]:
                    try:
                        await write(some)
                    except StoreError:  # told when it was kept
                        self._kept.setdefault(write, {}).update(dict.fromkeys(named))
                        break
                    del named[:_BATCH]
                    for one in some:
                        self._notify(one.id)

    async def _refresh(self, named: Sequence[ConversationDir]) -> None:
        await ingest(self._context, named)

    async def _refresh_every_event(self, named: Sequence[ConversationDir]) -> None:
        await ingest(self._context, named, every_event=True)

    async def _delete_empty(self, named: Sequence[ConversationDir]) -> None:
        await self._context.index.write(partial(delete_empty, reader=self._context.reader, named=named))

    async def _set_owners(self, named: Sequence[ConversationDir]) -> None:
        holders = await asyncio.to_thread(self._find_holders, named)
        await self._context.index.write(partial(ownership.set_owners, owned=holders))

    def _find_holders(self, named: Sequence[ConversationDir]) -> list[Ownership]:
        return [owned(one.id, lease.find_holder(self._context.root, one.directory)) for one in named]
