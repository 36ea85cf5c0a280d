"""Messages in PostgreSQL: the newest matches are found by reading few rows, whether a word is frequent or rare."""

from __future__ import annotations

import psycopg
import pytest

from app.index.connections import ReadConnection
from app.index.conversation_rows import upsert_many
from app.index.dialect import Sql
from app.index.engine import Index
from app.index.messages import MessageText, fetch_newest, parameters_of, write_messages
from app.index.search import matches_sql, search_messages
from app.model.filters import ConversationFilter, LookIn
from app.model.text.tokenizer import parse_question
from tests.index.builders import make_row

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_CONVERSATIONS, _MESSAGES = 500, 20
_READ = Sql(
    "SELECT relname, CAST(seq_tup_read + coalesce(idx_tup_fetch, 0) AS BIGINT) FROM pg_stat_xact_user_tables"
    " WHERE schemaname = current_schema()",
    {},
)
"""How many rows of each table the session read, as far as it has not told them to others yet."""


@pytest.fixture
async def messages(index: Index, postgres_url: str, schema: str) -> Index:
    """An index with 10,000 messages, of which one in 500 has a rare word, and the oldest 1,000 an early one."""
    rows = [make_row(number) for number in range(_CONVERSATIONS)]
    said = [
        MessageText(
            number + 1,
            seq,
            f"{number}-{seq}",
            number * 3_600_000_000,
            f"common{' rare' if seq == number % 500 else ''}{' early' if number < 50 else ''}",
        )
        for number in range(_CONVERSATIONS)
        for seq in range(_MESSAGES)
    ]
    await index.write(lambda connection: upsert_many(connection, rows))
    await index.write(lambda connection: write_messages(connection, said))
    with psycopg.connect(postgres_url, autocommit=True, options=f"-csearch_path={schema}") as connection:
        connection.execute("VACUUM (ANALYZE) message_words, message, conversation")
    return index


async def _count_read(connection: ReadConnection, text: str) -> tuple[dict[str, int], int]:
    """Search, and return how many rows of each table were read, and how many hits were found."""
    async with connection.snapshot():
        before = dict(await connection.fetch_all(_READ))
        page = await search_messages(connection, ConversationFilter(q=text), None, 20, most=50)
        after = dict(await connection.fetch_all(_READ))
        return {table: number - before[table] for table, number in after.items()}, len(page.items)


async def test_few_messages_are_read_for_a_word_that_all_have(messages: Index) -> None:
    async with messages.read() as connection:
        for _ in range(7):  # more often than it takes until PostgreSQL keeps the plans of prepared statements
            read, hits = await _count_read(connection, "common ")
            assert hits == 20
            assert read["message_words"] <= 200  # 51, twice as many ids, and those that the planner looks at


async def test_few_messages_are_read_for_a_rare_word_after_a_frequent_one(messages: Index) -> None:
    async with messages.read() as connection:
        for _ in range(7):
            await _count_read(connection, "common ")
        read, hits = await _count_read(connection, "rare ")
    assert hits == 20
    assert read["message_words"] <= 50


async def test_a_word_that_is_frequent_only_long_ago_is_not_looked_for_in_all(messages: Index) -> None:
    async with messages.read() as connection:
        read, hits = await _count_read(connection, "early ")
        assert hits == 20
        assert read["message_words"] <= 3_500  # 1,020 newer ones and their ids, and the 1,000 matches
        newest = await fetch_newest(connection, matches_sql(()), _parameters("early", 700))
        every = await fetch_newest(connection, matches_sql(()), _parameters("early", 1_200))
        border = await fetch_newest(connection, matches_sql(()), _parameters("common", 10_000))
    ids = [row[0] for row in every]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 1_000
    assert newest == every[:700]
    assert len(border) == 10_000


def _parameters(word: str, most: int) -> dict[str, object]:
    question = parse_question(f"{word} ")
    return {**parameters_of(question, LookIn.SAID), "newest": 2**62, "oldest": 0, "most": most}
