"""Delete, erase, tag, archive, pin, restore or export many conversations in one request.

An error of one conversation is reported in its item of the answer; the others are still changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator

from ... import trail
from ...errors import StoreError, UnexpectedCount
from ...model.archive_format import ExportFormat
from ...model.filters import is_blank
from ...model.ids import ConversationId, dashed
from ...model.times import to_us
from ...model.validation import check_tags
from ...store.admin.archive_export import ExportReport, aiter_of, export, find_named
from ...store.admin.erase import erase_conversations, require_erasable
from ...store.read.index_reader import PAGE_MAX
from ...store.read.reader import StoreReader
from ...store.write.backlog import Done
from ...web.encoders import find_encoder
from ..error_responses import UNEXPECTED, ErrorBody, note_conflict
from ..params import Store, WritableStore
from ..query_filters import AnyId, FilterQuery
from ..responses import EraseAnswer, Warned, make_erase_answer
from ..streamed import StreamedResponse, until_client_leaves
from .archives import log_left_out

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/conversations/bulk", tags=["trash"], responses={422: {"model": ErrorBody}})

_IDS_MAX = 10_000
_AT_ONCE = 8
"""The conversations that are opened and changed at a time; they wait together for the disk and the index."""
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {
        "model": ErrorBody,
        "description": "`unexpected_count`: `expected_count` is missing or wrong; nothing was done",
    }
}


class BulkFilter(FilterQuery):
    """The filters of search. Unknown filters and blank texts are refused, because ignoring them would match more."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("q", "title__contains")
    @classmethod
    def _not_blank(cls, text: str | None) -> str | None:
        if is_blank(text):
            raise ValueError("a blank text excludes no conversation; give a text, or omit this filter")
        return text


class Selection(BaseModel):
    """Conversations: by ids or by a filter."""

    model_config = ConfigDict(extra="forbid")

    ids: list[AnyId] | None = Field(default=None, max_length=_IDS_MAX)
    filter: BulkFilter | None = None
    all: StrictBool = Field(
        default=False,
        description="must be true if the filter is empty or has only `archived` with false or any; "
        "it confirms that all these conversations are meant; not allowed with ids or other filters",
    )
    expected_count: StrictInt | None = Field(
        default=None,
        ge=0,
        description="`matched` of a dry run. If the number has changed since, the answer is 409 and nothing is done. "
        f"Required when a filter matches more than {PAGE_MAX} conversations, and for `permanent` with a filter",
    )

    @model_validator(mode="after")
    def _require_one_choice(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError('give ids or a filter; {"filter": {}, "all": true} means all conversations')
        narrows = self.filter is None or self.filter.conversation_filter.narrows
        if not narrows and not self.all:
            raise ValueError('this filter matches all conversations; add "all": true to confirm, or give filters')
        if narrows and self.all:
            raise ValueError('"all" is only allowed with an empty filter; omit "all", or omit the ids or filters')
        return self


class Bulk(Selection):
    """The conversations to change."""

    dry_run: bool = Field(default=False, description="report the changes without making them")


class ExportRequest(Selection):
    """The conversations to export, and the format."""

    format: ExportFormat = Field(default=ExportFormat.ZIP, description="zip and jsonl can be imported again")


class BulkDelete(Bulk):
    """The conversations to delete."""

    permanent: bool = Field(default=False, description="remove them permanently instead of moving them into the trash")
    force: bool = Field(default=False, description="also delete conversations that have another owner")


class BulkErase(Bulk):
    """The conversations to erase. Ids may also be of conversations in the trash."""

    force: bool = Field(default=False, description="also erase conversations that have another owner")


class BulkTag(Bulk):
    """The conversations, the tags to set, and the tags to remove. Other tags stay."""

    set: dict[str, str] = {}
    remove: list[str] = []


class BulkArchive(Bulk):
    """The conversations to archive, or to take out of the archive. A filter matches archived ones only on request."""

    archived: bool = True


class BulkPin(Bulk):
    """The conversations to pin, or to unpin. A filter matches archived ones only on request."""

    pinned: bool = True


class BulkRestore(BaseModel):
    """The conversations to restore: by ids, or all that were deleted since a time."""

    model_config = ConfigDict(extra="forbid")

    ids: list[AnyId] | None = Field(default=None, max_length=_IDS_MAX)
    deleted_at__gte: datetime | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _require_one_choice(self) -> BulkRestore:
        if (self.ids is None) == (self.deleted_at__gte is None):
            raise ValueError("give ids, or deleted_at__gte")
        return self


class BulkItem(BaseModel):
    """The result for one conversation. `error` is null if it was changed, or in a dry run would be changed."""

    id: str
    error: str | None = None
    code: str | None = None
    warning: Warned = None


class BulkAnswer(BaseModel):
    """The result for each conversation. `matched` is the number of `items`."""

    items: list[BulkItem]
    matched: int
    done: int
    dry_run: bool


@router.post("/delete", responses=_CONFLICT, response_model_exclude_unset=True)
async def bulk_delete(store: WritableStore, request: BulkDelete) -> BulkAnswer:
    """Move many conversations into the trash, or with `permanent` remove them permanently."""
    ids = await select_conversations(store, request, for_good=request.permanent)
    if request.dry_run:
        return await _each(store, ids, partial(store.require_deletable, force=request.force), dry_run=True)
    return await _each(store, ids, partial(store.delete, permanent=request.permanent, force=request.force))


@router.post("/erase", responses=_CONFLICT | {404: {"model": ErrorBody}})
async def bulk_erase(store: WritableStore, request: BulkErase) -> EraseAnswer:
    """Remove conversations for good: files, entries of the trash, rows, free pages of the index, and its log.

    Then search the raw bytes of the index, of the backups beside it and of the trash for their texts. Backups elsewhere
    are not searched. An error stops the erasure; send the request again to go on.
    """
    ids = await select_conversations(store, request, for_good=True)
    await require_erasable(store, ids, force=request.force)
    if request.dry_run:
        return EraseAnswer(ids=[dashed(one) for one in ids], dry_run=True)
    return make_erase_answer(await erase_conversations(store, ids, force=request.force))


@router.post("/tag", responses=_CONFLICT, response_model_exclude_unset=True)
async def bulk_tag(store: WritableStore, request: BulkTag) -> BulkAnswer:
    """Set and remove tags of many conversations."""
    check_tags(request.set)

    def change(tags: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in tags.items() if key not in request.remove} | request.set

    async def tag(one: ConversationId) -> Done:
        async with store.writer(one) as conversation:
            return await conversation.change_tags(change)

    operation: _Operation = partial(store.require_taggable, change=change) if request.dry_run else tag
    ids = await select_conversations(store, request)
    return await _each(store, ids, operation, dry_run=request.dry_run, at_once=_AT_ONCE)


@router.post("/archive", responses=_CONFLICT, response_model_exclude_unset=True)
async def bulk_archive(store: WritableStore, request: BulkArchive) -> BulkAnswer:
    """Archive many conversations, or take them out of the archive."""

    async def archive(one: ConversationId) -> Done:
        return await store.mark(one, archived=request.archived)

    operation: _Operation = (
        store.require_deletable if request.dry_run else archive
    )  # deleting and writing need the same lease
    ids = await select_conversations(store, request)
    return await _each(store, ids, operation, dry_run=request.dry_run, at_once=_AT_ONCE)


@router.post("/pin", responses=_CONFLICT, response_model_exclude_unset=True)
async def bulk_pin(store: WritableStore, request: BulkPin) -> BulkAnswer:
    """Pin many conversations, so that they are never pruned, or unpin them."""

    async def pin(one: ConversationId) -> Done:
        return await store.mark(one, pinned=request.pinned)

    operation: _Operation = store.require_deletable if request.dry_run else pin
    ids = await select_conversations(store, request)
    return await _each(store, ids, operation, dry_run=request.dry_run, at_once=_AT_ONCE)


@router.post(
    "/export", response_class=StreamedResponse, status_code=200, responses=_CONFLICT | {404: {"model": ErrorBody}}
)
async def bulk_export(store: Store, request: ExportRequest, http: Request) -> StreamedResponse:
    """Download many conversations as one file. Secrets are masked. Unreadable files are left out and logged."""
    report = ExportReport()
    named = aiter_of(await find_named(store, await select_conversations(store, request, for_reading=True)))
    chunks = export(store.reader, named, request.format, report, encoder=find_encoder(request.format))
    first = await until_client_leaves(http, anext(chunks, b""))
    return StreamedResponse(
        log_left_out(aiter_of([first]), chunks, report),
        request.format.media_type,
        {"Content-Disposition": f'attachment; filename="conversations{request.format.suffix}"'},
    )


@router.post("/restore", response_model_exclude_unset=True)
async def bulk_restore(store: WritableStore, request: BulkRestore) -> BulkAnswer:
    """Restore many deleted conversations."""
    deleted = await store.list_last_deleted()
    if request.ids is not None:
        ids = [ConversationId(one) for one in request.ids]
    else:
        since_us = to_us(request.deleted_at__gte) if request.deleted_at__gte else 0
        ids = [one.id for one in deleted.values() if one.deleted_at_us >= since_us]
    trail.mention(map(dashed, ids), dry_run=request.dry_run)
    if request.dry_run:
        return await _each(store, ids, partial(store.require_restorable, deleted=deleted), dry_run=True)
    return await _each(store, ids, partial(store.restore, deleted=deleted))


async def select_conversations(
    store: StoreReader, request: Selection, *, for_good: bool = False, for_reading: bool = False
) -> list[ConversationId]:
    """Return the selected conversations, and mention them in the audit line."""
    ids = await _find_selected(store, request, for_good=for_good, for_reading=for_reading)
    trail.mention(map(dashed, ids), dry_run=isinstance(request, Bulk) and request.dry_run)
    return ids


async def _find_selected(
    store: StoreReader, request: Selection, *, for_good: bool, for_reading: bool
) -> list[ConversationId]:
    if request.filter is None:
        ids = list(dict.fromkeys(ConversationId(one) for one in request.ids or ()))
    else:
        if store.index.building is not None:
            await store.index.refresh_rebuilding()  # the build may have ended since the last refresh
        store.index.require_built()
        ids = await store.list_ids(request.filter.conversation_filter)
    found, expected = len(ids), request.expected_count
    dry_run = isinstance(request, Bulk) and request.dry_run
    unasked = dry_run or for_reading or request.filter is None or found <= (0 if for_good else PAGE_MAX)
    if expected == found or (expected is None and unasked):
        return ids
    if expected is None:
        what = "remove conversations permanently" if for_good else f"change more than {PAGE_MAX}"
        reason = f"the filter matches {found} conversations, and expected_count is required to {what}"
    else:
        reason = f"expected_count is {expected}, but {found} conversations match now"
    raise UnexpectedCount(
        f'{reason}; nothing was done. Check with "dry_run": true, then send "expected_count": {found}'
    )


_Operation = Callable[[ConversationId], Awaitable[Done | None]]
"""Changes one conversation, or in a dry run only raises the errors of the change."""


async def _each(
    store: StoreReader,
    ids: list[ConversationId],
    operation: _Operation,
    *,
    dry_run: bool = False,
    at_once: int = 1,
) -> BulkAnswer:
    """Do the operation on each conversation, on `at_once` of them at a time."""
    items = [BulkItem(id=dashed(one), error=None, code=None) for one in ids]
    waiting = iter(zip(ids, items, strict=True))

    async def work() -> None:
        for one, item in waiting:
            await _do(store, one, item, operation)

    await asyncio.gather(*(work() for _ in range(at_once)))
    number = 0 if dry_run else sum(item.error is None for item in items)
    return BulkAnswer(items=items, matched=len(items), done=number, dry_run=dry_run)


async def _do(store: StoreReader, one: ConversationId, item: BulkItem, operation: _Operation) -> None:
    try:
        done = await operation(one)
        if done is not None and done.warning is not None:
            item.warning = done.warning
    except StoreError as error:
        note_conflict(store.index.note, error)
        item.error, item.code = str(error), error.code
    except Exception:
        log.exception("conversation %s of a bulk request failed", one)
        item.error, item.code = UNEXPECTED, "internal_error"
