"""The 20 best of a million messages, beside the same FTS5 statement through sqlite3.

The messages are made up, of words as frequent as those of a language are; a rare one is put in 1 of 1,000, a common one
in 3 of 100, a very common one in all.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from time import perf_counter

from app.index import conversation_rows, filter_sql
from app.index.connections import WriteConnection
from app.index.conversation_list import count_conversations, count_sql
from app.index.engine import Index
from app.index.messages import MessageText, write_messages
from app.index.search import matches_sql, search_messages
from app.index.sqlite import database as sqlite
from app.index.sqlite import migrations
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.model.text.ranking import RANKED
from app.model.text.tokenizer import PREFIX_MIN, parse_question
from tests.bench.measure import Sample
from tests.bench.rows import Bound, Row, bounded
from tests.bench.shapes import make_speech

_BEGIN_US = 1_735_689_600_000_000
_IN_ONE = 10
_BATCH = 200
_TIMES = 15
_NEWEST = 2**62
_PLANTED = (("zebra", 0.001), ("giraffe", 0.03), ("fooBarBaz", 0.3), ("tiger", 0.01))

QUESTIONS = {
    "a word in 1 of 1,000": ("zebra ", 20),
    "a word in 3 of 100": ("giraffe ", 100),
    "a word in every message": ("common ", 100),
    "two words": ("common giraffe ", 100),
    "a phrase": ('"common tiger"', 100),
    "a prefix of three letters": ("com", 100),
    "an identifier": ("fooBarBaz ", 100),
    "one word without another": ("giraffe -zebra ", 100),
}

COUNTED = {"a word in 1 of 1,000": "zebra ", "a word in 3 of 100": "giraffe ", "a word in every message": "common "}

TYPED = ("common", "giraffe", "tiger", "retry with jitter", "common zebra", "fooBarBaz")


def measure_search(path: Path, messages: int) -> list[Row]:
    """Fill an index at `path` with so many messages, and measure questions of every kind; B is that number."""
    return asyncio.run(_measure(path, messages))


async def _measure(path: Path, number: int) -> list[Row]:
    migrations.upgrade(path)
    index = sqlite.Index(path, readers=1, busy_timeout_s=5)
    await index.open()
    try:
        rate = await fill(index, number)
        with closing(sqlite3.connect(path)) as database:
            of = f"20 best of {number:,}"
            rows = [await _compare(index, database, f"{of}: {name}", *asked) for name, asked in QUESTIONS.items()]
            rows += [await _count(index, database, *asked) for asked in COUNTED.items()]
            rows.append(await _type(index))
            return [*rows, Row("messages written and indexed", "1/s", large=Sample.of([rate])), _size(database)]
    finally:
        await index.close()


async def _type(index: Index) -> Row:
    """Search for each beginning of a few words, as a page does while somebody types; the row is the 95th percentile."""
    times = []
    for text in TYPED:
        for end in range(PREFIX_MIN, len(text) + 1):
            for _ in range(_TIMES):
                began = perf_counter()
                async with index.read() as connection:
                    await search_messages(connection, ConversationFilter(q=text[:end]), None, 20)
                times.append((perf_counter() - began) * 1000)
    slow = sorted(times)[len(times) * 95 // 100]
    return bounded(Row("each letter while typing, 95th percentile", "ms", large=Sample.of([slow])), at_most=60)


async def _count(index: Index, database: sqlite3.Connection, name: str, question: str) -> Row:
    """Count the conversations in which something is said, which looks at every match."""
    asked = ConversationFilter(q=question)
    names, parameters = filter_sql.compile_filter(asked)
    sql = count_sql(names)
    own, floor = [], []
    for _ in range(_TIMES):
        began = perf_counter()
        async with index.read() as connection:
            await count_conversations(connection, asked)
        own.append((perf_counter() - began) * 1000)
        began = perf_counter()
        database.execute(sql.text, sql.bind(parameters)).fetchall()
        floor.append((perf_counter() - began) * 1000)
    return Row(f"conversations with {name}", "ms", large=Sample.of(own), floor=Sample.of(floor))


async def fill(index: Index, number: int) -> float:
    """Write conversations and their messages; return how many messages a second were written."""
    spoken = _texts(Random(1))  # noqa: S311 - made-up data
    seconds = 0.0
    for begin in range(0, number // _IN_ONE, _BATCH):
        numbers = range(begin, min(begin + _BATCH, number // _IN_ONE))
        said = [
            MessageText(one + 1, seq, f"{one:08x}-{seq}", _BEGIN_US + one * 300_000_000 + seq * 1_000_000, text)
            for one in numbers
            for seq, text in enumerate(islice(spoken, _IN_ONE))
        ]

        seconds += await index.write(partial(_write, rows=[_row(one) for one in numbers], said=said))
    return number / seconds


def _write(connection: WriteConnection, rows: list[IndexedRow], said: list[MessageText]) -> float:
    conversation_rows.upsert_many(connection, rows)
    began = perf_counter()
    write_messages(connection, said)
    return perf_counter() - began


def _row(number: int) -> IndexedRow:
    uuid = ConversationId(f"{number:032x}")
    created_us = _BEGIN_US + number * 300_000_000
    return IndexedRow(fold(ConversationFiles(uuid, uuid, {}, 0, {"agent": {}}, LogSummary(), created_us)), b"x")


def _texts(random: Random) -> Iterator[str]:
    for text in make_speech(random):
        found = [word for word, share in _PLANTED if random.random() < share]
        yield " ".join(["common", *found, text])


async def _compare(index: Index, database: sqlite3.Connection, name: str, question: str, most_ms: int) -> Row:
    sql = matches_sql(("archived 0",)).gathered
    match = parse_question(question).match
    parameters = {**sql.constants, "match": match, "newest": _NEWEST, "oldest": 0, "most": RANKED + 1}
    own, floor = [], []
    for _ in range(_TIMES):
        began = perf_counter()
        async with index.read() as connection:
            await search_messages(connection, ConversationFilter(q=question), None, 20)
        own.append((perf_counter() - began) * 1000)
        began = perf_counter()
        database.execute(sql.text, parameters).fetchall()
        floor.append((perf_counter() - began) * 1000)
    sample = Sample.of(own)
    bound = Bound(f"at most {most_ms} ms", sample.median <= most_ms)
    return Row(name, "ms", large=sample, floor=Sample.of(floor), bound=bound)


def _size(database: sqlite3.Connection) -> Row:
    """Compare the words' index with the texts that it holds."""
    query = "SELECT (SELECT sum(length(block)) FROM message_fts_data), sum(length(CAST(text AS BLOB))) FROM message"
    [words, texts] = database.execute(query).fetchone()
    ratio = words / texts
    sizes = [Sample.of([number / 1e6]) for number in (words, texts)]
    bound = Bound("less than 1.5 times", ratio < 1.5)
    return Row("words' index; floor: the texts", "MB", large=sizes[0], floor=sizes[1], bound=bound)
