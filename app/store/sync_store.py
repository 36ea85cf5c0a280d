"""ConversationStore for code that is not asynchronous: each method waits for its result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..model.ids import ConversationId
from ..settings import Settings
from .store import ConversationStore
from .write.conversation_writer import ConversationWriter

W_co = TypeVar("W_co", covariant=True)
T = TypeVar("T")
P = ParamSpec("P")

_END: Any = object()


class _Waiting(Generic[W_co]):
    """An object whose methods run in the event loop of a thread of their own."""

    def __init__(self, wrapped: W_co, portal: BlockingPortal) -> None:
        self._wrapped = wrapped
        self._portal = portal


def _wait(method: Callable[Concatenate[W_co, P], Awaitable[T]]) -> Callable[Concatenate[_Waiting[W_co], P], T]:
    """Return the method that waits for the result of an asynchronous one."""

    @wraps(method)
    def call(self: _Waiting[W_co], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._portal.call(partial(method, self._wrapped, *args, **kwargs))

    return call


def _iterate(
    method: Callable[Concatenate[W_co, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[_Waiting[W_co], P], Iterator[T]]:
    """Return the method that yields what an asynchronous one yields. The next item is read when it is asked for."""

    @wraps(method)
    def call(self: _Waiting[W_co], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self._wrapped, *args, **kwargs)
        try:
            while (item := self._portal.call(_next, items)) is not _END:
                yield item
        finally:
            with suppress(RuntimeError):  # the store was closed in between, and its event loop has ended them
                self._portal.call(items.aclose)

    return call


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items, _END)


class SyncWriter(_Waiting[ConversationWriter]):
    """A conversation that is open for writing; see `ConversationWriter`."""

    append = _wait(ConversationWriter.append)
    append_batch = _wait(ConversationWriter.append_batch)
    send_message = _wait(ConversationWriter.send_message)
    set_status = _wait(ConversationWriter.set_status)
    set_tags = _wait(ConversationWriter.set_tags)
    set_title = _wait(ConversationWriter.set_title)


class SyncStore(_Waiting[ConversationStore]):
    """An open store; `ConversationStore.open_sync` opens it. The methods are those of `ConversationStore`.

    Several threads may use one store.
    """

    sync = _wait(ConversationStore.sync)

    resolve = _wait(ConversationStore.resolve)
    list_conversations = _wait(ConversationStore.list_conversations)
    walk_conversations = _iterate(ConversationStore.walk_conversations)
    count_conversations = _wait(ConversationStore.count_conversations)
    count_facets = _wait(ConversationStore.count_facets)
    list_usage = _wait(ConversationStore.list_usage)
    search_messages = _wait(ConversationStore.search_messages)
    walk_messages = _iterate(ConversationStore.walk_messages)

    get_conversation = _wait(ConversationStore.get_conversation)
    list_events = _wait(ConversationStore.list_events)
    walk_events = _iterate(ConversationStore.walk_events)
    count_events = _wait(ConversationStore.count_events)
    get_event = _wait(ConversationStore.get_event)
    get_final_response = _wait(ConversationStore.get_final_response)
    follow = _iterate(ConversationStore.follow)
    follow_changes = _iterate(ConversationStore.follow_changes)
    export = _iterate(ConversationStore.export)

    create = _wait(ConversationStore.create)
    fork = _wait(ConversationStore.fork)
    mark = _wait(ConversationStore.mark)
    delete = _wait(ConversationStore.delete)
    restore = _wait(ConversationStore.restore)

    @contextmanager
    def writer(self, conversation_id: ConversationId, *, force: bool = False) -> Iterator[SyncWriter]:
        """Open a conversation for writing: `with store.writer(id) as conversation`.

        Raises:
            ConversationNotFound, ConversationOwned, UnreadableFile: as for `ConversationStore.writer`.
        """
        opening = self._wrapped.writer(conversation_id, force=force)
        with self._portal.wrap_async_context_manager(opening) as writer:
            yield SyncWriter(writer, self._portal)


@contextmanager
def open_sync(settings: Settings | Path | str) -> Iterator[SyncStore]:
    """Open a store with an event loop in a thread of its own; see `ConversationStore.open_sync`."""
    with (
        start_blocking_portal(name="convstore") as portal,
        portal.wrap_async_context_manager(ConversationStore.open(settings)) as store,
    ):
        yield SyncStore(store, portal)
