"""The texts of events and titles, and the full-text index of their words. Only this module writes messages.

In SQLite, the words are in an FTS5 table whose content is a view of split words. To remove a message's entries, FTS5
needs the same words again, so the entries are deleted before the message itself. In PostgreSQL, they are a tsvector in
the table `message_words`. Both are made by the same tokenizer, so both find the same messages. What was said and what
tools did are apart: two columns of the FTS5 table, and the weights A and B of the tsvector.

The id of a message consists of its hour, the key of its conversation, and a number. So the newest matches have the
highest ids, which FTS5 returns first without sorting, and the conversation of a match is found by a bit shift. A lookup
in a database index took 200 ms for a million matches. The cost: within one hour, messages are sorted by conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import orjson
from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
)

from ..errors import IndexUnusable
from ..model.filters import LookIn
from ..model.text.event_text import searchable_title
from ..model.text.tokenizer import Question
from .connections import ReadConnection, WriteConnection
from .dialect import Either, Sql, compiled, paired
from .tables import conversation, message, message_words

_NUMBER_BITS, _KEY_BITS, _HOUR_BITS = 18, 25, 20
"""63 bits in all: 262,144 messages per conversation and hour, 33 million conversations, and hours until 2089."""

_HOUR_US = 3_600_000_000
_HOUR_SHIFT = _NUMBER_BITS + _KEY_BITS

NUMBERS = 1 << _NUMBER_BITS
"""The number of ids per conversation and hour. Further messages of that hour are not searchable."""

CONVERSATION_OF_MATCH = f"((message_fts.rowid >> {_NUMBER_BITS}) & {(1 << _KEY_BITS) - 1})"
"""The SQL expression for the key of a match's conversation."""


def _matching(*more: ColumnElement[Any]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the ids of the matching messages under more conditions."""
    asked: Any = text("message_words.words @@ CAST(:tsquery AS TSQUERY)")
    return select(message_words.c.id).where(asked, *more)


def _key_of(message_id: ColumnElement[int]) -> ColumnElement[int]:
    """Return the expression for the key of the conversation of a message."""
    shift: ColumnElement[int] = literal_column(str(_NUMBER_BITS), Integer())
    mask: ColumnElement[int] = literal_column(str((1 << _KEY_BITS) - 1), Integer())
    return message_id.op(">>")(shift).self_group().op("&")(mask).self_group()


def saying(key: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a conversation has a message that matches. A million matches take 0.1 s.

    The parameters are those of `parameters_of`.
    """
    words: Any = (
        text(f"SELECT {CONVERSATION_OF_MATCH} FROM message_fts WHERE message_fts MATCH :match")  # noqa: S608
        .bindparams(bindparam("match"))
        .columns(conversation.c.id)
    )
    return Either(key.in_(words), key.in_(_matching().with_only_columns(_key_of(message_words.c.id))))


def titled(key: ColumnElement[int], title_key: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that the title of a conversation contains `title_parts`, of at least three characters.

    Its other parameter, `title_like`, is the same as a pattern.
    """
    parts: Any = (
        text("SELECT title_fts.rowid FROM title_fts WHERE title_fts MATCH :title_parts")
        .bindparams(bindparam("title_parts"))
        .columns(conversation.c.id)
    )
    return Either(key.in_(parts), title_key.like(bindparam("title_like")))


_COLUMNS = {LookIn.SAID: "{{text}} : ({})", LookIn.TOOLS: "{{tool_text}} : ({})", LookIn.ALL: "{}"}
_WEIGHTS = {LookIn.SAID: "A", LookIn.TOOLS: "B", LookIn.ALL: ""}


def parameters_of(question: Question, look_in: LookIn) -> Mapping[str, object]:
    """Return the parameters of the statements that look for words, for both databases.

    Titles are among what was said.
    """
    match = None if question.match is None else _COLUMNS[look_in].format(question.match)
    return {"match": match, "tsquery": question.tsquery_in(_WEIGHTS[look_in])}


class NewestMatches(NamedTuple):
    """The statements for the newest matching messages of conversations under some conditions.

    `gathered` finds all matches and then the newest of them; SQLite needs no other. In PostgreSQL, `walked` goes
    through the messages from the newest on until it has enough, which takes less if many match; `matching` are all
    matches, whose number PostgreSQL guesses.
    """

    gathered: Sql
    walked: Sql
    matching: Sql


_WALKED_SHARE = 20
"""The messages are walked if one in so many matches. Then about 100,000 are read for the newest 5,000, and at most
twice as many: a word may be frequent only in old conversations. The matches before those are gathered."""


def newest_matches(conditions: Sequence[ColumnElement[bool]]) -> NewestMatches:
    """Return the statements for the newest matching messages of conversations under these conditions.

    Their parameters are those of `parameters_of`, the largest id `newest`, the smallest id `oldest`, and the limit
    `most`. Its rows are (id, key of the conversation, seq, what was said, what a tool did).
    """
    where, constants = _admitted(conditions)
    gathered = Sql(
        "SELECT message.id, message.conversation, message.seq, message.text, message.tool_text FROM message"  # noqa: S608
        " WHERE message.id IN ("
        "SELECT message_fts.rowid FROM message_fts WHERE message_fts MATCH :match"
        f" AND message_fts.rowid <= :newest AND message_fts.rowid >= :oldest{where}"
        " ORDER BY message_fts.rowid DESC LIMIT :most) ORDER BY message.id DESC",
        constants,
        _texts_of(_gathered(conditions)),
    )
    return NewestMatches(gathered, _of_postgres(_texts_of(_walked(conditions))), _of_postgres(_all_matches(conditions)))


async def fetch_newest(
    index: ReadConnection, matches: NewestMatches, parameters: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """Return the newest matching messages, by the statement that reads least as far as the database knows."""
    found = await index.guess_rows(matches.matching, parameters)
    everything = 0 if found is None else await index.guess_rows(_all_messages(), parameters) or 0
    if found is None or found * _WALKED_SHARE < everything:
        return await index.fetch_all(matches.gathered, parameters)
    most = cast(int, parameters["most"])
    walked = 2 * most * everything // max(found, 1)
    rest = await index.fetch_one(_rest(), {**parameters, "skipped": walked}) if everything > walked else None
    if rest is None:
        return await index.fetch_all(matches.walked, parameters)
    rows = await index.fetch_all(matches.walked, {**parameters, "oldest": rest[0] + 1})
    if len(rows) < most:
        more = {**parameters, "newest": rest[0], "most": most - len(rows)}
        rows += await index.fetch_all(matches.gathered, more)
    return rows


def count_newest(conditions: Sequence[ColumnElement[bool]]) -> Sql:
    """Return the statement for the number of matching messages under these conditions, but at most `most`."""
    where, constants = _admitted(conditions)
    found = _found(conditions).limit(bindparam("most")).subquery()
    return Sql(
        "SELECT count(*) FROM (SELECT message_fts.rowid FROM message_fts"  # noqa: S608
        f" WHERE message_fts MATCH :match{where} LIMIT :most)",
        constants,
        select(func.count()).select_from(found),
    )


def _admitted(conditions: Sequence[ColumnElement[bool]]) -> tuple[str, Mapping[str, object]]:
    """Return the condition that the conversation of a match is under these conditions, and its constants."""
    admitted = compiled(
        select(conversation.c.id).where(conversation.c.id == literal_column(CONVERSATION_OF_MATCH), *conditions)
    )
    return (f" AND EXISTS ({admitted.text})", admitted.constants) if conditions else ("", {})


def _found(conditions: Sequence[ColumnElement[bool]], *within: ColumnElement[bool]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the ids of the matches in conversations under these conditions."""
    found = _matching(*within).cte("found").prefix_with("MATERIALIZED")
    return select(found.c.id).where(*_admitting(found.c.id, conditions))


def _admitting(message_id: ColumnElement[int], conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return PostgreSQL's condition that the conversation of a message is under these conditions.

    OFFSET 0 makes it look up the conversation of each match. Otherwise it may read all conversations for a few matches.
    """
    if not conditions:
        return []
    here = select(conversation.c.id).where(conversation.c.id == _key_of(message_id), *conditions)
    return [here.offset(literal_column("0")).exists()]


_WITHIN = message_words.c.id.between(bindparam("oldest"), bindparam("newest"))


@cache
def _all_messages() -> Sql:
    return _of_postgres(select(message_words.c.id).where(_WITHIN))


@cache
def _rest() -> Sql:
    """Return the statement for the newest message after the first `skipped`, which reads no words."""
    newest = select(message_words.c.id).where(_WITHIN).order_by(message_words.c.id.desc())
    return _of_postgres(newest.offset(bindparam("skipped")).limit(literal_column("1")))


def _of_postgres(statement: Select[Any]) -> Sql:
    """Return a statement that SQLite never runs."""
    return Sql("", {}, statement)


def _all_matches(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the matches in conversations under these conditions, whose rows it guesses."""
    matching = _matching(_WITHIN)
    return matching.where(conversation.c.id == _key_of(message_words.c.id), *conditions) if conditions else matching


def _gathered(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the ids of the newest matches, which finds all matches first.

    Its planner might otherwise look at all messages for a rare word.
    """
    found = _found(conditions, _WITHIN)
    return found.order_by(found.selected_columns.id.desc()).limit(bindparam("most"))


def _walked(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the ids of the newest matches, which looks at one message after another.

    For a condition that IS TRUE, PostgreSQL uses no index of words.
    """
    matches: Any = text("(message_words.words @@ CAST(:tsquery AS TSQUERY)) IS TRUE")
    walked = select(message_words.c.id).where(matches, _WITHIN, *_admitting(message_words.c.id, conditions))
    return walked.order_by(message_words.c.id.desc()).limit(bindparam("most"))


def _texts_of(ids: Select[Any]) -> Select[Any]:
    """Return PostgreSQL's SELECT of the messages with these ids, the newest first, each by a look-up of its id."""
    newest, one = ids.subquery("newest"), message.alias("one")
    shown = (one.c.id, one.c.conversation, one.c.seq, one.c.text, one.c.tool_text)
    looked_up = select(*shown).where(one.c.id == newest.c.id).limit(literal_column("1")).lateral("shown")
    columns = looked_up.c
    return (
        select(columns.id, columns.conversation, columns.seq, columns.text, columns.tool_text)
        .select_from(newest.join(looked_up, literal_column("true")))
        .order_by(newest.c.id.desc())
    )


_HERE = "(SELECT here.id FROM conversation AS here WHERE here.uuid = :uuid)"
_SAID = (
    "SELECT message.id, message.seq, message.event_id FROM message"
    " JOIN conversation ON conversation.id = message.conversation AND conversation.uuid = :uuid"
    " WHERE message.seq >= 0 AND message.id IN ({}) ORDER BY message.seq, message.event_id"
)
SAID_HERE = paired(
    text(
        _SAID.format(
            "SELECT message_fts.rowid FROM message_fts"  # noqa: S608
            f" WHERE message_fts MATCH :match AND {CONVERSATION_OF_MATCH} = {_HERE}"
        )
    ),
    text(
        _SAID.format(
            "SELECT message_words.id FROM message_words JOIN message AS one ON one.id = message_words.id"  # noqa: S608
            f" WHERE one.conversation = {_HERE} AND message_words.words @@ CAST(:tsquery AS TSQUERY)"
        )
    ),
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

_Key = tuple[int, int, str]


class MessageText(NamedTuple):
    """What was said in an event, and what a tool did; "" for neither. `conversation` is the integer key."""

    conversation: int
    seq: int
    event_id: str
    time_us: int | None
    text: str
    tool_text: str = ""


_FOUND = "SELECT message.conversation, message.seq, message.event_id, message.id, message.text, message.tool_text"
_FIND = paired(
    text(
        f"{_FOUND} FROM json_each(:wanted) AS one CROSS JOIN message"
        " ON message.conversation = json_extract(one.value, '$[0]')"
        " AND message.seq = json_extract(one.value, '$[1]') AND message.event_id = json_extract(one.value, '$[2]')"
    ),
    text(
        f"{_FOUND} FROM json_array_elements(CAST(:wanted AS JSON)) AS one(value) JOIN message"
        " ON message.conversation = CAST(one.value ->> 0 AS BIGINT)"
        " AND message.seq = CAST(one.value ->> 1 AS BIGINT) AND message.event_id = one.value ->> 2"
    ),
)
_LAST = "(SELECT max(id) FROM message WHERE id >= one.value AND id < one.value + :numbers)"
_LAST_IDS = paired(
    text(f"SELECT one.value, {_LAST} FROM json_each(:firsts) AS one"),  # noqa: S608
    text(
        f"SELECT one.value, {_LAST} FROM (SELECT CAST(value AS BIGINT)"  # noqa: S608
        " FROM json_array_elements_text(CAST(:firsts AS JSON)) AS each(value)) AS one(value)"
    ),
)
BORDER = "\ue000\\:1"
"""A word that nobody can search for, so that no phrase begins in what was said and ends in what a tool did."""

_ADD_WORDS = paired(
    text("INSERT INTO message_fts (rowid, text, tool_text) VALUES (:id, :words, :tool_words)"),
    text(
        "INSERT INTO message_words (id, words) VALUES (:id,"  # noqa: S608
        f" setweight(CAST(:words AS TSVECTOR), 'A') || CAST('{BORDER}' AS TSVECTOR)"
        " || setweight(CAST(:tool_words AS TSVECTOR), 'B'))"
    ),
)


def _delete_words(condition: str) -> Sql:
    return paired(
        text(
            "INSERT INTO message_fts (message_fts, rowid, text, tool_text)"  # noqa: S608
            f" SELECT 'delete', id, split(text), split(tool_text) FROM message WHERE {condition}"
        ),
        text(f"DELETE FROM message_words WHERE id IN (SELECT id FROM message WHERE {condition})"),  # noqa: S608
    )


_DELETE_WORDS_OF_ONE = _delete_words("id = :id")
_DELETE_WORDS_OF_ALL = _delete_words("conversation = :key")
_DELETE_ALL_WORDS = paired(
    text("INSERT INTO message_fts (message_fts) VALUES ('delete-all')"), text("DELETE FROM message_words")
)


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
    for *key, message_id, known, tool_known in index.fetch_all(_FIND, {"wanted": orjson.dumps(list(wanted)).decode()}):
        one = wanted[tuple(key)]
        is_equal = (one.text, one.tool_text) == (known, tool_known)
        if is_equal and is_among(message_id, first_id(one.time_us, one.conversation)):
            del wanted[tuple(key)]
        else:
            stale.append({"id": message_id})
    index.execute_many(_DELETE_WORDS_OF_ONE, stale)
    index.execute_many(_delete_one_sql(), stale)
    return len(stale) + add_messages(index, wanted.values())


def add_messages(index: WriteConnection, said: Iterable[MessageText]) -> int:
    """Write texts of events or titles that have none yet, and return their number."""
    fresh = sorted((first_id(one.time_us, one.conversation), one) for one in said if one.text or one.tool_text)
    if not fresh:
        return 0
    firsts = orjson.dumps(sorted({first for first, _ in fresh})).decode()
    asked = {"firsts": firsts, "numbers": NUMBERS}
    last = {first: first - 1 if top is None else top for first, top in index.fetch_all(_LAST_IDS, asked)}
    rows = []
    for first, one in fresh:
        last[first] += 1
        if is_among(last[first], first):
            rows.append(
                {
                    "id": last[first],
                    "conversation": one.conversation,
                    "seq": one.seq,
                    "event_id": one.event_id,
                    "text": one.text,
                    "tool_text": one.tool_text,
                }
            )
    index.execute_many(_insert_sql(), rows)
    add_words(index, [(row["id"], row["text"], row["tool_text"]) for row in rows])
    return len(rows)


_PART = "{0}.conversation = :source AND {0}.seq BETWEEN :first AND :last"
_CLASH = Sql(
    "SELECT 1 FROM message AS one JOIN message AS other ON other.id = one.id + :further"  # noqa: S608
    f" WHERE {_PART.format('one')} LIMIT 1",
    {},
)
_COPY = Sql(
    "INSERT INTO message (id, conversation, seq, event_id, text, tool_text)"  # noqa: S608
    " SELECT id + :further, :target, seq, event_id, text, tool_text FROM message"
    f" WHERE {_PART.format('message')} AND id & {NUMBERS - 1} < {NUMBERS - 1} AND EXISTS (SELECT 1 FROM event"
    " WHERE event.conversation = :target AND event.seq = message.seq AND event.event_id = message.event_id)"
    " ORDER BY id",
    {},
)
_COPIED = "message.conversation = :target AND message.seq BETWEEN :first AND :last"
_COPY_WORDS = paired(
    text(
        "INSERT INTO message_fts (rowid, text, tool_text)"  # noqa: S608
        f" SELECT id, split(text), split(tool_text) FROM message WHERE {_COPIED} ORDER BY id"
    ),
    text(
        "INSERT INTO message_words (id, words) SELECT message.id, one.words FROM message"  # noqa: S608
        f" JOIN message_words AS one ON one.id = message.id - :further WHERE {_COPIED}"
    ),
)


def have_room(index: WriteConnection, source: int, target: int, first: int, last: int) -> bool:
    """Whether `copy_messages` can copy the texts between two numbers."""
    part = {"source": source, "first": first, "last": last}
    return not index.fetch_all(_CLASH, part | {"further": _further(source, target)})


def copy_messages(index: WriteConnection, source: int, target: int, first: int, last: int) -> None:
    """Copy the texts and words of events between two numbers to another conversation, which has these events.

    It has no texts there, and there must be room. Both conversations are given by their keys.
    """
    part = {"source": source, "target": target, "first": first, "last": last, "further": _further(source, target)}
    index.fetch_all(_COPY, part)
    index.fetch_all(_COPY_WORDS, part)


def _further(source: int, target: int) -> int:
    """Return how much higher the ids of copied messages are: in the same hours, with numbers after the title's."""
    return first_id(0, target) - first_id(0, source) + 1


def add_words(index: WriteConnection, rows: Iterable[Sequence[Any]]) -> None:
    """Write the words of messages that have none: (id, what was said, what a tool did) of each."""
    words = [{"id": key, "words": index.words_of(text), "tool_words": index.words_of(done)} for key, text, done in rows]
    index.execute_many(_ADD_WORDS, words)


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


_HOLDER = (
    "SELECT uuid FROM conversation WHERE id IN (SELECT conversation FROM message WHERE {}"
    " UNION SELECT conversation FROM conversation_info WHERE {}"
    " UNION SELECT conversation FROM conversation_info WHERE shared IN (SELECT hash FROM shared_info WHERE {})) LIMIT 1"
)
_HAS_PART = ("instr(text || tool_text, :part)", "instr(body, CAST(:part AS BLOB))")
_HAS_PART_POSTGRES = ("strpos(text || tool_text, :part) > 0", "position(convert_to(:part, 'UTF8') IN body) > 0")
_FIND_HOLDER = paired(
    text(_HOLDER.format(*_HAS_PART, _HAS_PART[1])),
    text(_HOLDER.format(*_HAS_PART_POSTGRES, _HAS_PART_POSTGRES[1])),
)


def find_holder(index: WriteConnection, part: str) -> str | None:
    """Return a conversation whose texts, body or shared fields contain `part`, or None. This reads all of them."""
    rows = index.fetch_all(_FIND_HOLDER, {"part": part})
    return rows[0][0] if rows else None


def clear_messages(index: WriteConnection) -> None:
    """Delete all messages. A sync reads them again."""
    index.execute_many(_DELETE_ALL_WORDS, [{}])
    index.execute(delete(message))
