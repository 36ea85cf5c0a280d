"""The texts of events and titles, and the full-text index of their words, which uses SQLite's FTS5.

FTS5's content is a view of split words. To remove a message's entries, FTS5 needs the same words again, so the entries
are deleted before the message itself. Only this module writes messages.

The id of a message consists of its hour, the key of its conversation, and a number. So the newest matches have the
highest ids, which FTS5 returns first without sorting, and the conversation of a match is found by a bit shift. A lookup
in a database index took 200 ms for a million matches. The cost: within one hour, messages are sorted by conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, ScalarSelect, bindparam, delete, insert, literal_column, select, text

from ...errors import IndexUnusable
from ...model.text.event_text import searchable_title
from ...model.text.tokenizer import split
from ..connections import ReadConnection, WriteConnection
from ..dialect import Sql, compiled
from ..tables import conversation, message

_NUMBER_BITS, _KEY_BITS, _HOUR_BITS = 18, 25, 20
"""63 bits in all: 262,144 messages per conversation and hour, 33 million conversations, and hours until 2089."""

_HOUR_US = 3_600_000_000
_HOUR_SHIFT = _NUMBER_BITS + _KEY_BITS

NUMBERS = 1 << _NUMBER_BITS
"""The number of ids per conversation and hour. Further messages of that hour are not searchable."""

CONVERSATION_OF_MATCH = f"((message_fts.rowid >> {_NUMBER_BITS}) & {(1 << _KEY_BITS) - 1})"
"""The SQL expression for the key of a match's conversation."""

SAYING: Any = (
    text(f"SELECT {CONVERSATION_OF_MATCH} FROM message_fts WHERE message_fts MATCH :match")  # noqa: S608
    .bindparams(bindparam("match"))
    .columns(conversation.c.id)
)
"""A SELECT of the keys of conversations with a message that matches `match`. A million matches take 0.1 s."""

TITLED: Any = (
    text("SELECT title_fts.rowid FROM title_fts WHERE title_fts MATCH :title_parts")
    .bindparams(bindparam("title_parts"))
    .columns(conversation.c.id)
)
"""A SELECT of the keys of conversations whose title contains `title_parts`, which has at least three characters."""


def newest_matches(conditions: Sequence[ColumnElement[bool]]) -> Sql:
    """Return the statement for the newest matching messages of conversations under these conditions.

    Its parameters are `match`, the largest id `newest`, the smallest id `oldest`, and the limit `most`. Its rows are
    (id, key of the conversation, seq, text).
    """
    admitted = compiled(
        select(conversation.c.id).where(conversation.c.id == literal_column(CONVERSATION_OF_MATCH), *conditions)
    )
    where = f" AND EXISTS ({admitted.text})" if conditions else ""
    return Sql(
        "SELECT message.id, message.conversation, message.seq, message.text FROM message WHERE message.id IN ("  # noqa: S608
        "SELECT message_fts.rowid FROM message_fts WHERE message_fts MATCH :match"
        f" AND message_fts.rowid <= :newest AND message_fts.rowid >= :oldest{where}"
        " ORDER BY message_fts.rowid DESC LIMIT :most) ORDER BY message.id DESC",
        admitted.constants,
    )


SAID_HERE = Sql(
    "SELECT message.id, message.seq, message.event_id FROM message"  # noqa: S608
    " JOIN conversation ON conversation.id = message.conversation AND conversation.uuid = :uuid"
    " WHERE message.seq >= 0 AND message.id IN (SELECT message_fts.rowid FROM message_fts"
    f" WHERE message_fts MATCH :match AND {CONVERSATION_OF_MATCH} ="
    " (SELECT here.id FROM conversation AS here WHERE here.uuid = :uuid)) ORDER BY message.seq, message.event_id",
    {},
)
"""The statement for the matching messages of one conversation (id, seq, event id), in the order of the log."""


def first_id(time_us: int | None, conversation: int) -> int:
    """Return the lowest message id for a conversation and a time. None for the time means the year 1970.

    Raises:
        IndexUnusable: the key of the conversation is too large for an id.
    """
    if conversation >> _KEY_BITS:
        raise IndexUnusable(
            "this index has numbered 33 million conversations and has no number left; run `convstore index rebuild`"
        )
    hour = min(max(time_us or 0, 0) // _HOUR_US, (1 << _HOUR_BITS) - 1)
    return hour << _HOUR_SHIFT | conversation << _NUMBER_BITS


def is_among(message_id: int, first: int) -> bool:
    """Whether an id belongs to the conversation and hour of `first`, which is a result of `first_id`."""
    return first <= message_id < first + NUMBERS


def hour_of(message_id: int) -> int:
    """Return the hour of a message id, counted from 1970."""
    return message_id >> _HOUR_SHIFT


TITLE_SEQ = -1
"""The `seq` of titles, which are stored as messages too."""

MERGED_PAGES = 500
"""The number of pages of 4 kB that are merged in one transaction, which takes about 50 ms."""

_PAGE_BYTES = 4050
_MERGED_SOMETHING = 2
_Key = tuple[int, int, str]


class MessageText(NamedTuple):
    """The text of an event, or "" if it has none. `conversation` is the integer key."""

    conversation: int
    seq: int
    event_id: str
    time_us: int | None
    text: str


_FIND = Sql(
    "SELECT message.conversation, message.seq, message.event_id, message.id, message.text"
    " FROM json_each(:wanted) AS one CROSS JOIN message ON message.conversation = json_extract(one.value, '$[0]')"
    " AND message.seq = json_extract(one.value, '$[1]') AND message.event_id = json_extract(one.value, '$[2]')",
    {},
)
_LAST_IDS = Sql(
    "SELECT value, (SELECT max(id) FROM message WHERE id >= value AND id < value + :numbers) FROM json_each(:firsts)",
    {"numbers": NUMBERS},
)
_ADD_WORDS = Sql("INSERT INTO message_fts (rowid, text) VALUES (:id, :words)", {})
_DELETE_WORDS = (
    "INSERT INTO message_fts (message_fts, rowid, text) SELECT 'delete', id, split(text) FROM message WHERE "
)
_DELETE_WORDS_OF_ONE = Sql(f"{_DELETE_WORDS}id = :id", {})
_DELETE_WORDS_OF_ALL = Sql(f"{_DELETE_WORDS}conversation = :key", {})
_DELETE_ALL_WORDS = Sql("INSERT INTO message_fts (message_fts) VALUES ('delete-all')", {})


@cache
def _insert_sql() -> Sql:
    return compiled(insert(message))


@cache
def _delete_one_sql() -> Sql:
    return compiled(delete(message).where(message.c.id == bindparam("id")))


@cache
def _delete_all_sql() -> Sql:
    return compiled(delete(message).where(message.c.conversation == bindparam("key")))


def write_messages(index: WriteConnection, said: Iterable[MessageText]) -> int:
    """Write texts, replacing the earlier texts of the same events, and return the number that differed."""
    wanted: dict[_Key, MessageText] = {one[:3]: one for one in said}
    stale: list[dict[str, object]] = []
    for *key, message_id, known in index.fetch_all(_FIND, {"wanted": orjson.dumps(list(wanted)).decode()}):
        one = wanted[tuple(key)]
        if one.text == known and is_among(message_id, first_id(one.time_us, one.conversation)):
            del wanted[tuple(key)]
        else:
            stale.append({"id": message_id})
    index.execute_many(_DELETE_WORDS_OF_ONE, stale)
    index.execute_many(_delete_one_sql(), stale)
    return len(stale) + add_messages(index, wanted.values())


def add_messages(index: WriteConnection, said: Iterable[MessageText]) -> int:
    """Write texts of events or titles that have none yet, and return their number."""
    fresh = sorted((first_id(one.time_us, one.conversation), one) for one in said if one.text)
    if not fresh:
        return 0
    firsts = orjson.dumps(sorted({first for first, _ in fresh})).decode()
    last = {first: first - 1 if top is None else top for first, top in index.fetch_all(_LAST_IDS, {"firsts": firsts})}
    rows = []
    for first, one in fresh:
        last[first] += 1
        if is_among(last[first], first):
            rows.append(
                {"id": last[first], "conversation": one.conversation, "seq": one.seq, "event_id": one.event_id}
                | {"text": one.text}
            )
    index.execute_many(_insert_sql(), rows)
    index.execute_many(_ADD_WORDS, [{"id": row["id"], "words": split(str(row["text"]))} for row in rows])
    return len(rows)


def title_text() -> ScalarSelect[str]:
    """Return the SQL expression for the searchable title of a conversation."""
    return (
        select(message.c.text)
        .where(
            message.c.conversation == conversation.c.id,
            message.c.seq == literal_column(str(TITLE_SEQ)),
            message.c.event_id == literal_column("''"),
        )
        .scalar_subquery()
    )


def title_message(key: int, title: str | None, created_at_us: int) -> MessageText:
    """Return the message for the title of the conversation `key`."""
    return MessageText(key, TITLE_SEQ, "", created_at_us, searchable_title(title or ""))


_STRAY = Sql(
    "SELECT message.conversation, message.id FROM message WHERE message.seq != :title AND NOT EXISTS"
    " (SELECT 1 FROM event WHERE event.conversation = message.conversation"
    " AND event.seq = message.seq AND event.event_id = message.event_id)",
    {"title": TITLE_SEQ},
)


async def list_stray(index: ReadConnection) -> list[int]:
    """Return the keys of conversations that have a message without an event row. A sound index has none."""
    return list(dict.fromkeys(row[0] for row in await index.fetch_all(_STRAY)))


def delete_stray(index: WriteConnection) -> None:
    """Delete the messages without an event row."""
    stray = [{"id": row[1]} for row in index.fetch_all(_STRAY)]
    index.execute_many(_DELETE_WORDS_OF_ONE, stray)
    index.execute_many(_delete_one_sql(), stray)


def delete_messages(index: WriteConnection, keys: Sequence[int]) -> None:
    """Delete all messages of conversations; the caller then deletes the conversations."""
    parameters = [{"key": key} for key in keys]
    index.execute_many(_DELETE_WORDS_OF_ALL, parameters)
    index.execute_many(_delete_all_sql(), parameters)


_HOW_LOOSE = Sql(
    "SELECT (SELECT count(DISTINCT segid) FROM message_fts_idx), (SELECT sum(length(block)) FROM message_fts_data),"
    " (SELECT count(*) FROM message) * (SELECT avg(length(CAST(text AS BLOB))) FROM ("
    "SELECT * FROM (SELECT text FROM message ORDER BY id DESC LIMIT 1000)"
    " UNION ALL SELECT * FROM (SELECT text FROM message ORDER BY id LIMIT 1000)))",
    {},
)
_CHANGES = Sql("SELECT total_changes()", {})
_MERGE = Sql("INSERT INTO message_fts (message_fts, rank) VALUES ('merge', :pages)", {})


async def count_merges(index: ReadConnection, *, always: bool) -> int:
    """Return the approximate number of steps to merge the text index, or 0 if merging is unnecessary or not worthwhile.

    Deleted and rewritten texts leave entries behind. Merging is worthwhile if the text index is larger than the texts,
    which is about twice its merged size. With `always`, it is merged in any case.
    """
    row = await index.fetch_one(_HOW_LOOSE)
    segments, size_bytes, text_bytes = row or (0, None, None)
    if segments <= 1 or not (always or (size_bytes or 0) > (text_bytes or 0)):
        return 0
    return 1 + int(size_bytes or 0) // (MERGED_PAGES * _PAGE_BYTES)


def merge_words(index: WriteConnection, *, begin: bool) -> bool:
    """Do one step of merging and return whether there is more to do. Pass `begin` for the first step."""
    [[before]] = index.fetch_all(_CHANGES)
    index.execute_many(_MERGE, [{"pages": -MERGED_PAGES if begin else MERGED_PAGES}])
    [[after]] = index.fetch_all(_CHANGES)
    return int(after) - int(before) >= _MERGED_SOMETHING


_MERGE_ALL = tuple(
    Sql(f"INSERT INTO {table} ({table}) VALUES ('optimize')", {})  # noqa: S608
    for table in ("message_fts", "title_fts")
)
_HOLDER = Sql(
    "SELECT uuid FROM conversation WHERE id IN (SELECT conversation FROM message WHERE instr(text, :part)"
    " UNION SELECT conversation FROM conversation_info WHERE instr(body, CAST(:part AS BLOB))) LIMIT 1",
    {},
)


def merge_all_words(index: WriteConnection) -> None:
    """Merge both text indexes completely, so that they keep no word of a deleted text."""
    for statement in _MERGE_ALL:
        index.execute_many(statement, [{}])


def find_holder(index: WriteConnection, part: str) -> str | None:
    """Return a conversation whose texts or body contain `part`, or None. This reads all of them."""
    rows = index.fetch_all(_HOLDER, {"part": part})
    return rows[0][0] if rows else None


def clear_messages(index: WriteConnection) -> None:
    """Delete all messages. A sync reads them again."""
    index.execute_many(_DELETE_ALL_WORDS, [{}])
    index.execute(delete(message))
