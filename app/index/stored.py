"""The index as it stands, for verify: whole rows, bodies, and whether the database itself is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sqlalchemy import delete, select, text, union_all

from app.errors import IndexUnusable
from app.index.conversation_rows import as_row, rows_sql
from app.index.sqlite.database import ReadConnection, WriteConnection
from app.index.sqlite.db_errors import is_damage
from app.index.sqlite.text_index import forget_messages
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_info, conversation_tag, event, message
from app.model.conversation import ConversationRow
from app.model.ids import ConversationId
from app.model.text.tokenizer import split

_FULL_TEXT = {"words": "message_fts", "title parts": "title_fts"}
"""What can be found through an index of FTS5, and the table that is that index."""


class StoredRow(NamedTuple):
    """A conversation's key and row; the body is empty when the index has none."""

    key: int
    row: ConversationRow


async def find_stored(index: ReadConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, StoredRow]:
    """Return the stored rows of those of `ids` that the index knows."""
    if not ids:
        return {}
    asked = {f"id_{i}": uuid for i, uuid in enumerate(ids)}
    rows = await index.fetch_all(rows_sql(len(ids), conversation.c.id), asked)
    stored = [StoredRow(row[0], as_row(row[1:])) for row in rows]
    return {one.row.uuid: one for one in stored}


@cache
def _orphans_sql() -> Sql:
    keys = select(conversation.c.id)
    return compiled(
        union_all(
            select(conversation_info.c.conversation).where(conversation_info.c.conversation.not_in(keys)),
            select(conversation_tag.c.conversation).where(conversation_tag.c.conversation.not_in(keys)).distinct(),
            select(event.c.conversation).where(event.c.conversation.not_in(keys)).distinct(),
            select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct(),
        )
    )


async def list_orphans(index: ReadConnection) -> list[int]:
    """Return the keys that bodies, tags, event rows or messages have but no conversation; a sound index has none."""
    return [row[0] for row in await index.fetch_all(_orphans_sql())]


def delete_orphans(index: WriteConnection) -> None:
    """Delete the bodies, tags, event rows and messages whose conversation does not exist."""
    keys = select(conversation.c.id)
    spoken = index.execute(select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct())
    forget_messages(index, [row[0] for row in spoken])
    index.execute(delete(conversation_info).where(conversation_info.c.conversation.not_in(keys)))
    index.execute(delete(conversation_tag).where(conversation_tag.c.conversation.not_in(keys)))
    index.execute(delete(event).where(event.c.conversation.not_in(keys)))


async def list_damage(index: ReadConnection, *, whole: bool = True) -> list[str]:
    """Return what SQLite's own check finds wrong with the database; nothing when it is sound.

    Without `whole` it does not compare the indexes with their tables.
    """
    pragma = "PRAGMA integrity_check(20)" if whole else "PRAGMA quick_check(20)"
    rows = await index.fetch_all(Sql(str(text(pragma)), {}))
    return [row[0] for row in rows if row[0] != "ok"]


def list_unsound(index: Path) -> list[str]:
    """Return of "words" and "title parts" those whose index differs from all that was said, or from the titles.

    SQLite's check takes its time and a lock for writing; so it looks at a copy, which is as of one moment.

    Raises:
        IndexUnusable: there is no room for a copy, or the index cannot be read.
    """
    with TemporaryDirectory(dir=index.parent, prefix=".verify-") as directory:
        copy = Path(directory) / "index.db"
        try:
            with closing(sqlite3.connect(index, isolation_level=None)) as database:
                database.execute("PRAGMA busy_timeout=5000")
                database.execute("VACUUM INTO ?", (str(copy),))
            with closing(sqlite3.connect(copy, isolation_level=None)) as database:
                database.create_function("split", 1, split, deterministic=True)
                return [name for name, table in _FULL_TEXT.items() if not _is_sound(database, table)]
        except sqlite3.DatabaseError as error:
            raise IndexUnusable(f"the words in the index {index} could not be checked ({error})") from error


def _is_sound(database: sqlite3.Connection, table: str) -> bool:
    try:
        database.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    except sqlite3.DatabaseError as error:
        if is_damage(error) and "malformed" in str(error):
            return False
        raise
    return True


def rebuild_full_text(index: WriteConnection, name: str) -> None:
    """Make the index of "words" anew from the messages, or that of "title parts" from the titles."""
    table = _FULL_TEXT[name]
    index.execute_many(Sql(f"INSERT INTO {table} ({table}) VALUES ('rebuild')", {}), [{}])  # noqa: S608
