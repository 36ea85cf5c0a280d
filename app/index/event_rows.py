"""The event rows of one conversation: the log without the payloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import orjson
from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)

from ..model.conversation import LOOK_BACK
from ..model.event import EventFacts, EventRow, KnownEnds, LogChange
from ..model.filters import EventFilter
from ..model.ids import SEQ_MAX, ConversationId, EventName
from ..model.page import Cursor, EventOrder
from . import log_blocks, state
from .activity import add_activity, clear_activity, recount_activity
from .connections import ReadConnection, Reads, WriteConnection
from .dialect import Sql, as_json_list, compiled, insert, is_any_of, paired
from .messages import MessageText, add_messages, clear_messages, write_messages
from .tables import conversation, edit, event, log_block, message

LONG_LOG = 1000
"""The length from which a log is long. Listing a shorter one costs no more than asking for its ends."""

UNREADABLE_MAX = 1000
"""The maximum number of unreadable events that a page reports."""

_KEY = select(conversation.c.id).where(conversation.c.uuid == bindparam("uuid")).scalar_subquery()
HERE = event.c.conversation == _KEY
"""Filters by uuid, because keys change when the index is rebuilt."""

_BLOCKS_HERE = log_block.c.conversation == _KEY


def _asked(asked: EventFilter) -> dict[str, object]:
    given = {
        "kind": "MessageEvent" if asked.body is not None and asked.kind is None else asked.kind,
        "source": asked.source,
        "timestamp_gte": asked.timestamp_gte_us,
        "timestamp_lt": asked.timestamp_lt_us,
    }
    return {name: value for name, value in given.items() if value is not None}


def _conditions(names: Iterable[str]) -> list[ColumnElement[bool]]:
    clauses = {
        "kind": event.c.kind == bindparam("kind"),
        "source": event.c.source == bindparam("source"),
        "timestamp_gte": event.c.timestamp >= bindparam("timestamp_gte"),
        "timestamp_lt": event.c.timestamp < bindparam("timestamp_lt"),
    }
    return [HERE, event.c.unreadable.is_(None), *(clauses[name] for name in names)]


def _last_with(same: Sequence[ColumnElement[bool]]) -> ScalarSelect[int]:
    """Return the number up to which a log may have such events, so that no rows are read in vain after it."""
    width: ColumnElement[int] = literal_column(str(log_blocks.BLOCK))
    one: ColumnElement[int] = literal_column("1")
    last = func.max(log_block.c.block) * width + width - one
    unblocked: ColumnElement[int] = literal_column(str(log_blocks.ROWS_READ - 1))
    return select(func.coalesce(last, unblocked)).where(_BLOCKS_HERE, *same).scalar_subquery()


@lru_cache(maxsize=256)
def list_sql(order: EventOrder, names: tuple[str, ...], *, after: bool) -> Sql:
    """Return the statement of a page of events. `names` are the filters that are set."""
    here = tuple_(event.c.seq, event.c.event_id)
    there = tuple_(bindparam("after_seq"), bindparam("after_id"))
    descending = order is EventOrder.TIMESTAMP_DESC
    statement = select(event.c.seq, event.c.event_id).where(*_conditions(names))
    same = [log_block.c[name] == bindparam(name) for name in names if name in ("kind", "source")]
    if same:
        statement = statement.where(event.c.seq <= _last_with(same))
    if after:
        statement = statement.where(here < there if descending else here > there)
    directions = (event.c.seq.desc(), event.c.event_id.desc()) if descending else (event.c.seq, event.c.event_id)
    return compiled(statement.order_by(*directions).limit(bindparam("row_limit")), short=not names)


async def list_events(
    index: Reads,
    uuid: ConversationId,
    asked: EventFilter,
    order: EventOrder,
    after: Cursor[int] | None,
    limit: int,
) -> list[EventName]:
    """Return the names of readable events in log order or its reverse.

    The caller compares texts with `asked.body`; here it only selects MessageEvents.
    """
    parameters = _asked(asked)
    sql = list_sql(order, tuple(parameters), after=after is not None)
    parameters |= {"uuid": uuid, "row_limit": limit}
    if after is not None:
        parameters |= {"after_seq": after.key, "after_id": after.id}
    # a tuple's own constructor: a page has a hundred, and EventName's takes twice as long
    return [tuple.__new__(EventName, row) for row in await index.fetch_all(sql, parameters)]


@lru_cache(maxsize=256)
def count_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement that counts a conversation's events under the filters that are set.

    Without a filter by time, it reads the first rows of the log and the counts of its blocks.
    """
    rows = select(func.count()).select_from(event).where(*_conditions(names))
    if not {*names} <= {"kind", "source"}:
        return compiled(rows)
    readable = func.coalesce(func.sum(log_block.c.events - log_block.c.unreadable), literal_column("0"))
    same = [log_block.c[name] == bindparam(name) for name in names]
    first = rows.where(event.c.seq < literal_column(str(log_blocks.ROWS_READ))).scalar_subquery()
    return compiled(select(first + select(readable).where(_BLOCKS_HERE, *same).scalar_subquery()))


async def count_events(index: ReadConnection, uuid: ConversationId, asked: EventFilter) -> int:
    """Return the number of readable events that match the filter. `asked.body` only selects MessageEvents."""
    parameters = _asked(asked)
    rows = await index.fetch_all(count_sql(tuple(parameters)), parameters | {"uuid": uuid})
    return int(rows[0][0])


@cache
def _between_sql() -> Sql:
    here = event.c.seq.between(bindparam("first"), bindparam("last"))
    return compiled(
        select(event.c.seq, event.c.event_id)
        .where(HERE, event.c.unreadable.is_(None), here)
        .order_by(event.c.seq, event.c.event_id)
    )


async def list_between(index: ReadConnection, uuid: ConversationId, first: int, last: int) -> list[EventName]:
    """Return the names of the readable events between two sequence numbers, in log order."""
    rows = await index.fetch_all(_between_sql(), {"uuid": uuid, "first": first, "last": last})
    return [EventName(*row) for row in rows]


@cache
def _of_kind_sql() -> Sql:
    here = event.c.seq.between(bindparam("first"), bindparam("last"))
    of_kind = event.c.kind == bindparam("kind")
    return compiled(
        select(event.c.seq, event.c.event_id)
        .where(HERE, event.c.unreadable.is_(None), here, of_kind)
        .order_by(event.c.seq, event.c.event_id)
    )


async def list_of_kind(
    index: ReadConnection, uuid: ConversationId, kind: str, first: int, last: int
) -> list[EventName]:
    """Return the names of the readable events of one kind between two sequence numbers, in log order."""
    rows = await index.fetch_all(_of_kind_sql(), {"uuid": uuid, "kind": kind, "first": first, "last": last})
    return [EventName(*row) for row in rows]


@cache
def _count_log_sql() -> Sql:
    first = select(func.count()).where(HERE, event.c.seq < literal_column(str(log_blocks.ROWS_READ))).scalar_subquery()
    number = func.coalesce(func.sum(log_block.c.events), literal_column("0"))
    rest = select(number).where(_BLOCKS_HERE).scalar_subquery()
    last = select(func.max(event.c.seq)).where(HERE).scalar_subquery()
    return compiled(select(first + rest, func.coalesce(last, literal_column("-1"))))


async def count_log(index: ReadConnection, uuid: ConversationId) -> tuple[int, int]:
    """Return (the number of events in a log, readable or not; its last sequence number, or -1)."""
    [row] = await index.fetch_all(_count_log_sql(), {"uuid": uuid})
    return int(row[0]), int(row[1])


@cache
def _length_sql() -> Sql:
    columns = conversation.c
    current = (columns.uuid == bindparam("uuid"), columns.events_behind == 0)
    return compiled(select(columns.signature, columns.event_count).where(*current))


@lru_cache(maxsize=2)
def _end_sql(*, last: bool) -> Sql:
    columns = (event.c.seq, event.c.event_id)
    order = [column.desc() for column in columns] if last else columns
    return compiled(select(*columns).where(HERE).order_by(*order).limit(LOOK_BACK))


async def find_ends(index: ReadConnection, uuid: ConversationId) -> KnownEnds | None:
    """Return the names at both ends of a long log, or None if it is short, has gaps, or its rows are not current.

    The work does not depend on the length of the log.
    """
    row = await index.fetch_one(_length_sql(), {"uuid": uuid})
    if row is None or row[1] < LONG_LOG:
        return None
    [first, last] = [
        [EventName(*name) for name in await index.fetch_all(_end_sql(last=last), {"uuid": uuid})]
        for last in (False, True)
    ]
    signature, length = row
    if [name.seq for name in (*first, *reversed(last))] != [*range(LOOK_BACK), *range(length - LOOK_BACK, length)]:
        return None
    return KnownEnds(signature, length, first, last[::-1])


_NEXT = """
    SELECT seq / :size FROM event WHERE conversation = (SELECT id FROM conversation WHERE uuid = :uuid)
    AND seq >= {0} ORDER BY seq LIMIT 1"""
_STARTS = Sql(
    f"""
    WITH RECURSIVE start (number) AS (
        SELECT ({_NEXT.format("0")}) UNION ALL
        SELECT ({_NEXT.format("(start.number + 1) * :size")}) FROM start WHERE number IS NOT NULL
    ) SELECT number FROM start WHERE number IS NOT NULL""",  # noqa: S608
    {},
)
"""Finds the first event of each section, and not the others."""


_HERE = "conversation = (SELECT id FROM conversation WHERE uuid = :uuid)"
_ANSWERS = (
    "unreadable IS NULL AND (kind = 'MessageEvent' AND source = 'agent' OR kind = 'ActionEvent' AND tool = 'finish')"
)
"""Messages of the agent, and its final answers."""
_TURNS = "kind = 'MessageEvent' AND source = 'user' AND unreadable IS NULL"
_SAID_STARTS_TEXT = f"""
    WITH turn AS (
        SELECT seq, lag(seq, 1, -1) OVER (ORDER BY seq) AS earlier FROM (
            SELECT seq FROM event {{turns}} WHERE {_HERE} AND {_TURNS} UNION ALL SELECT {SEQ_MAX}
        ) AS one
    )
    SELECT DISTINCT seq / :size AS start FROM (
        SELECT seq FROM turn WHERE seq < {SEQ_MAX}
        UNION ALL
        SELECT (SELECT seq FROM event WHERE {_HERE} AND event.seq > turn.earlier AND event.seq < turn.seq AND {_ANSWERS}
            ORDER BY event.seq DESC LIMIT 1) FROM turn
        UNION ALL
        SELECT seq FROM event {{marks}} WHERE {_HERE} AND (kind IN ('AgentErrorEvent', 'ConversationErrorEvent',
            'Condensation', 'UserRejectObservation', 'HookExecutionEvent') OR unreadable IS NOT NULL)
            AND (kind NOT IN ('Condensation', 'HookExecutionEvent') OR unreadable IS NOT NULL)
    ) AS said WHERE seq IS NOT NULL ORDER BY start"""  # noqa: S608
_SAID_STARTS = paired(
    text(_SAID_STARTS_TEXT.format(turns="INDEXED BY ix_event_turns", marks="INDEXED BY ix_event_marks")),
    text(_SAID_STARTS_TEXT.format(turns="", marks="")),
)
"""Goes back from each message of a user, and from the end, to the answer before it, so that few rows are read."""
_NEXT_SPEAKER = Sql(
    f"SELECT source FROM event WHERE {_HERE} AND seq > :seq AND (({_TURNS}) OR ({_ANSWERS})) ORDER BY seq LIMIT 1",  # noqa: S608
    {},
)


async def list_starts(index: ReadConnection, uuid: ConversationId, size: int) -> list[int]:
    """Return the first numbers of the sections of `size` numbers in which the log has events, readable or not."""
    return [size * int(row[0]) for row in await index.fetch_all(_STARTS, {"uuid": uuid, "size": size})]


async def list_said_starts(index: ReadConnection, uuid: ConversationId, size: int) -> list[int]:
    """Return the first numbers of the sections with something that was said.

    These are a user's messages, the agent's answer before each and at the end, errors, rejections, and unreadable
    events.
    """
    return [size * int(row[0]) for row in await index.fetch_all(_SAID_STARTS, {"uuid": uuid, "size": size})]


async def find_next_speaker(index: ReadConnection, uuid: ConversationId, seq: int) -> str | None:
    """Return who says something next after a number, `user` or `agent`, or None if nobody does."""
    row = await index.fetch_one(_NEXT_SPEAKER, {"uuid": uuid, "seq": seq})
    return None if row is None else str(row[0])


@cache
def _unreadable_sql() -> Sql:
    return compiled(
        select(event.c.seq, event.c.event_id, event.c.unreadable)
        .where(HERE, event.c.unreadable.is_not(None), event.c.seq.between(bindparam("first"), bindparam("last")))
        .order_by(event.c.seq, event.c.event_id)
        .limit(bindparam("row_limit")),
        short=True,
    )


async def list_unreadable(
    index: Reads, uuid: ConversationId, first: int, last: int, limit: int = UNREADABLE_MAX
) -> list[tuple[EventName, str]]:
    """Return the unreadable events and gaps between two sequence numbers, with their reasons."""
    parameters = {"uuid": uuid, "first": first, "last": last, "row_limit": limit}
    rows = await index.fetch_all(_unreadable_sql(), parameters)
    return [(EventName(seq, event_id), reason) for seq, event_id, reason in rows]


@cache
def _find_sql() -> Sql:
    return compiled(
        select(event.c.seq, event.c.event_id)
        .where(HERE, event.c.event_id == bindparam("event_id"))
        .order_by(event.c.seq)
        .limit(1),
        short=True,
    )


async def find_event(index: Reads, uuid: ConversationId, event_id: str) -> EventName | None:
    """Return an event's name, or None. If two files have the same id, the first counts."""
    row = await index.fetch_one(_find_sql(), {"uuid": uuid, "event_id": event_id}) if event_id else None
    return EventName(*row) if row else None


@cache
def _seqs_sql() -> Sql:
    wanted = is_any_of(event.c.event_id, "ids")
    return compiled(select(event.c.event_id, event.c.seq).where(HERE, wanted).order_by(event.c.seq.desc()))


async def find_seqs(
    index: ReadConnection, uuid: ConversationId, ids: Sequence[str], length: int
) -> dict[str, int | None] | None:
    """Return the number of each event, None for an id that the log does not have.

    Return None instead if the rows are not those of a log of this length without gaps. Call it in a snapshot.
    """
    current = await index.fetch_one(_length_sql(), {"uuid": uuid}) is not None
    if not current or await count_log(index, uuid) != (length, length - 1):
        return None
    rows = await index.fetch_all(_seqs_sql(), {"uuid": uuid, "ids": orjson.dumps(ids).decode()})
    return dict.fromkeys(ids) | {event_id: int(seq) for event_id, seq in rows}  # of twins, the first one counts


@cache
def _has_sql() -> Sql:
    return compiled(
        select(event.c.seq).where(HERE, event.c.seq == bindparam("seq"), event.c.event_id == bindparam("event_id"))
    )


async def has_event(index: ReadConnection, uuid: ConversationId, name: EventName) -> bool:
    """Whether the log has an event of this number and id."""
    return await index.fetch_one(_has_sql(), {"uuid": uuid, **name._asdict()}) is not None


@cache
def _responses_sql() -> Sql:
    said = or_(
        (event.c.kind == "ActionEvent") & (event.c.tool == "finish"),
        event.c.kind == "MessageEvent",
    )
    return compiled(
        select(event.c.seq, event.c.event_id)
        .where(HERE, event.c.source == "agent", event.c.unreadable.is_(None), said)
        .order_by(event.c.seq.desc(), event.c.event_id.desc())
        .limit(bindparam("row_limit"))
    )


async def list_responses(index: ReadConnection, uuid: ConversationId, most: int) -> list[EventName]:
    """Return the agent's last finish actions and messages, `most` at the most, in log order."""
    rows = await index.fetch_all(_responses_sql(), {"uuid": uuid, "row_limit": most})
    return [EventName(*row) for row in reversed(rows)]


@cache
def _rows_sql() -> Sql:
    columns = event.c
    return compiled(
        select(
            columns.seq,
            columns.event_id,
            columns.kind,
            columns.source,
            columns.timestamp,
            columns.tool,
            func.coalesce(message.c.text, literal_column("''")),
            columns.unreadable,
            as_json_list(
                edit.c.path,
                select()
                .select_from(edit)
                .where(
                    edit.c.conversation == columns.conversation,
                    edit.c.seq == columns.seq,
                    edit.c.event_id == columns.event_id,
                )
                .correlate(event),
            ),
            func.coalesce(message.c.tool_text, literal_column("''")),
            columns.number,
        )
        .join_from(
            event,
            message,
            and_(
                message.c.conversation == columns.conversation,
                message.c.seq == columns.seq,
                message.c.event_id == columns.event_id,
            ),
            isouter=True,
        )
        .where(columns.conversation == bindparam("conversation"))
        .order_by(columns.seq, columns.event_id)
    )


async def list_rows(index: ReadConnection, key: int) -> list[EventRow]:
    """Return all event rows of a conversation, including gaps, with their texts, in log order."""
    rows = await index.fetch_all(_rows_sql(), {"conversation": key})
    return [
        EventRow(
            EventName(*row[:2]), EventFacts._make((*row[2:7], tuple(sorted(orjson.loads(row[8]))), *row[9:])), row[7]
        )
        for row in rows
    ]


@cache
def _known_sql() -> Sql:
    columns = event.c
    return compiled(
        select(columns.conversation, columns.seq, columns.event_id, columns.unreadable).where(
            is_any_of(columns.conversation, "keys")
        )
    )


async def list_known(index: ReadConnection, keys: Sequence[int]) -> dict[int, dict[tuple[int, str], str | None]]:
    """Return, for each key, the names of its events, each with its reason if it is unreadable.

    The names are plain tuples, because making an `EventName` of each costs as much as reading the row.
    """
    found: dict[int, dict[tuple[int, str], str | None]] = {key: {} for key in keys}
    if keys:
        rows = await index.fetch_all(_known_sql(), {"keys": orjson.dumps(keys).decode()})
        for row in rows:
            found[row[0]][row[1:3]] = row[3]
    return found


@cache
def _insert_sql() -> Sql:
    return compiled(insert(event).on_conflict_do_nothing())


@cache
def _upsert_sql() -> Sql:
    statement = insert(event)
    fresh = {name: statement.excluded[name] for name in ("kind", "source", "timestamp", "tool", "unreadable", "number")}
    differs = or_(*(event.c[name].is_distinct_from(value) for name, value in fresh.items()))
    key = ["conversation", "seq", "event_id"]
    return compiled(statement.on_conflict_do_update(index_elements=key, set_=fresh, where=differs))


@cache
def _insert_edits_sql() -> Sql:
    return compiled(insert(edit).on_conflict_do_nothing())


@cache
def _delete_edits_sql() -> Sql:
    columns = edit.c
    key = (columns.conversation, columns.seq, columns.event_id)
    return compiled(delete(edit).where(*(column == bindparam(column.name) for column in key)))


@cache
def _delete_sql() -> Sql:
    return compiled(
        delete(event).where(
            event.c.conversation == bindparam("conversation"),
            event.c.seq == bindparam("seq"),
            event.c.event_id == bindparam("event_id"),
        )
    )


@cache
def _directories_sql() -> Sql:
    return compiled(select(conversation.c.id, conversation.c.directory).where(is_any_of(conversation.c.id, "keys")))


@cache
def _in_step_sql() -> Sql:
    lagging = (conversation.c.id == bindparam("key_")) & (conversation.c.events_behind == 1)
    return compiled(update(conversation).where(lagging).values(events_behind=0))


def apply_changes(index: WriteConnection, changes: Sequence[LogChange]) -> None:
    """Write and delete event rows and their texts. Conversations that were read completely are then up to date.

    A change is dropped if its conversation was deleted meanwhile, or if its key now belongs to another directory
    because the index was replaced.
    """
    keys = orjson.dumps([change.key for change in changes]).decode()
    existing = dict(index.fetch_all(_directories_sql(), {"keys": keys}))
    changes = [
        change for change in changes if change.key in existing and change.directory in (None, existing[change.key])
    ]
    changed = upsert_events(index, changes)
    changed += index.count_changed(_in_step_sql(), [{"key_": one.key} for one in changes if not one.failed])
    if changed:
        state.bump_revision(index)


def upsert_events(index: WriteConnection, changes: Sequence[LogChange]) -> int:
    """Write and delete event rows and texts of existing conversations, and return the number of rows that differed."""
    gone = [
        {"conversation": change.key, "seq": name.seq, "event_id": name.event_id}
        for change in changes
        for name in change.delete
    ]
    rows = [(change.key, row) for change in changes for row in change.write]
    fresh: list[dict[str, object]] = []
    said: list[MessageText] = []
    for key, ((seq, event_id), facts, unreadable) in rows:
        kind, source, time_us, tool, text, _, tool_text, number = facts
        fresh.append(
            {
                "conversation": key,
                "seq": seq,
                "event_id": event_id,
                "kind": kind,
                "source": source,
                "timestamp": time_us,
                "tool": tool,
                "unreadable": unreadable,
                "number": number,
            }
        )
        said.append(MessageText(key, seq, event_id, time_us, text, tool_text))
    deleted = index.count_changed(_delete_sql(), gone) if gone else 0
    inserted = index.count_changed(_insert_sql(), fresh)
    edited = [
        {"conversation": key, "seq": row.name.seq, "event_id": row.name.event_id, "path": path}
        for key, row in rows
        for path in row.facts.edits
    ]
    if inserted != len(fresh):
        here = [{name: one[name] for name in ("conversation", "seq", "event_id")} for one in fresh]
        index.execute_many(_delete_edits_sql(), here)
    if edited:
        index.execute_many(_insert_edits_sql(), edited)
    # texts are written together with their events, so new events have no texts yet
    if not gone and inserted == len(fresh):
        add_activity(index, [(key, row.facts.timestamp_us) for key, row in rows])
        log_blocks.add_counts(index, (_counted(key, row) for key, row in rows))
        return inserted + add_messages(index, said)
    unsaid = [MessageText(change.key, *name, None, "") for change in changes for name in change.delete]
    changed = deleted + inserted + index.count_changed(_upsert_sql(), fresh)
    if changed:
        recount_activity(index, {change.key for change in changes})
        written = [(key, row.name.seq) for key, row in rows]
        log_blocks.recount(index, written + [(change.key, name.seq) for change in changes for name in change.delete])
    return changed + write_messages(index, unsaid + said)


def _counted(key: int, row: EventRow) -> log_blocks.Counted:
    return log_blocks.Counted(key, row.name.seq, row.facts.kind, row.facts.source, row.facts.tool, row.unreadable)


def delete_all(index: WriteConnection) -> None:
    """Delete all event rows and texts. The next sync reads the logs again."""
    clear_messages(index)
    clear_activity(index)
    log_blocks.clear(index)
    index.execute(delete(event))
