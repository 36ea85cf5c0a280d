"""Whatever JSON stands in a conversation's files, a sync gives it a row and leaves the others as they were."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from tests.builders import index_tables, make_conversation, make_id

Tables = dict[str, list[tuple[Any, ...]]]
FOUR = [make_id(number) for number in range(1, 5)]

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["Agent", "running", "gAAAAsecret", "http://a:b@c/", "2026-10-01T12:00:00"]
)
TIMES = st.sampled_from(["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]) | st.datetimes().map(str)
NUMBERS: st.SearchStrategy[Any] = st.integers() | st.floats() | st.sampled_from([-(2**63), 2**64 - 1, -1e300, 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def fields(**names: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of which every field may be absent, of the expected shape, or anything."""
    return st.fixed_dictionaries({}, optional={name: shape | JSON for name, shape in names.items()})


USAGE = fields(
    accumulated_cost=NUMBERS, accumulated_token_usage=fields(prompt_tokens=NUMBERS, completion_tokens=NUMBERS)
)
META = JSON | fields(
    title=TEXTS,
    created_at=TIMES,
    updated_at=TIMES,
    tags=JSON,
    parent_conversation_id=TEXTS,
    forked_from_conversation_id=TEXTS,
    workspace=JSON,
    client_tools=JSON,
    tool_module_qualnames=JSON,
)
STATE = JSON | fields(
    agent=fields(kind=TEXTS, llm=fields(model=TEXTS, api_key=TEXTS), agent_context=fields(skills=JSON, secrets=JSON)),
    workspace=fields(kind=TEXTS, working_dir=TEXTS),
    execution_status=TEXTS,
    stats=fields(usage_to_metrics=st.dictionaries(TEXTS, USAGE | JSON, max_size=2)),
    agent_state=fields(acp_current_model_id=JSON, acp_available_models=JSON),
    secret_registry=fields(secret_sources=JSON),
    tags=JSON,
    sub_conversation_ids=JSON,
    unreadable=JSON,
)
EVENT = JSON | fields(kind=TEXTS, source=TEXTS, timestamp=TIMES, tool_name=TEXTS)


def rows_of_conversations(path: Path) -> Tables:
    """Return the rows that belong to one conversation each, and so no counts of all."""
    return {name: rows for name, rows in index_tables(path).items() if not name.startswith("tally")}


class Others(NamedTuple):
    """An open store with three good conversations, a loop to run it on, and room for a strange one."""

    runner: asyncio.Runner
    store: ConversationStore

    def add_strange(self, meta: str, state: str, event: str) -> tuple[list[str], Tables, Tables, int]:
        """Sync without a fourth conversation, then with it. Give all ids, the others' rows before and now, a count."""
        root, path = self.store.settings.root, self.store.settings.index_path
        shutil.rmtree(root / make_id(4), ignore_errors=True)
        self.runner.run(self.store.sync())
        before = rows_of_conversations(path)
        directory = make_conversation(root, 4, events=0)
        (directory / "meta.json").write_text(meta)
        (directory / "base_state.json").write_text(state)
        (directory / "events" / f"event-00000-{make_id(4)}.json").write_text(event)
        self.runner.run(self.store.sync())
        after = rows_of_conversations(path)
        others = {name: [row for row in rows if row[0] != make_id(4)] for name, rows in after.items()}
        others["shared_info"] = [row for row in after["shared_info"] if row in before["shared_info"]]
        listed = self.runner.run(self.store.list_conversations()).items
        return [row[0] for row in after["conversation"]], before, others, len(listed)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, empty_index: Path, _shared_index: str) -> Iterator[Others]:
    root = tmp_path_factory.mktemp("any-json") / "conversations"
    for number in (1, 2, 3):
        make_conversation(root, number)
    (root / ".convstore").mkdir()
    shutil.copyfile(empty_index, root / ".convstore" / "index.db")
    opening = ConversationStore.open(Settings(store=root))
    with asyncio.Runner() as runner:
        yield Others(runner, runner.run(opening.__aenter__()))
        runner.run(opening.__aexit__(None, None, None))


@pytest.mark.long
@given(meta=META.map(json.dumps), state=STATE.map(json.dumps), event=EVENT.map(json.dumps))
@settings(max_examples=150, deadline=None)
def test_any_json_gives_a_conversation_a_row_and_harms_no_other(
    others: Others, meta: str, state: str, event: str
) -> None:
    ids, before, after, listed = others.add_strange(meta, state, event)
    assert (ids, after, listed) == (FOUR, before, 4)


def usage(tokens: str, cost: str = "0") -> str:
    spent = f'{{"accumulated_cost": {cost}, "accumulated_token_usage": {{"prompt_tokens": {tokens}}}}}'
    return f'{{"agent": {{"kind": "Agent"}}, "stats": {{"usage_to_metrics": {{"a": {spent}}}}}}}'


def nested(levels: int) -> str:
    return '{"agent": {"kind": "Agent"}, "tags": ' + '{"a":' * levels + "1" + "}" * levels + "}"


STRANGE = {
    "a time before the year 1": ('{"created_at": "0001-01-01T00:00:00+23:59"}', "{}", "{}"),
    "a time after the year 9999": ('{"updated_at": "9999-12-31T23:59:59-23:59"}', "{}", "{}"),
    "an event after the year 9999": ("{}", "{}", '{"kind": "A", "timestamp": "9999-12-31T23:59:59-23:59"}'),
    "tokens below 64 bits": ("{}", usage("-1e300"), "{}"),
    "tokens above 64 bits": ("{}", usage("1e300"), "{}"),
    "a cost that is no number": ("{}", usage("NaN", "Infinity"), "{}"),
    "a cost that overflows": ("{}", usage("1", "1e999"), "{}"),
    "300 levels": (nested(300), nested(300), nested(300)),
    "900 levels": (nested(900), nested(900), nested(900)),
    "100,000 levels": (nested(100_000), nested(100_000), nested(100_000)),
    "half a surrogate pair": ('{"title": "\\ud800"}', '{"agent": {"kind": "\\ud800"}}', '{"kind": "\\ud800"}'),
    "a null character": ('{"title": "\\u0000"}', '{"agent": {"kind": "\\u0000"}}', '{"kind": "\\u0000"}'),
    "a long title": (json.dumps({"title": "x" * 1_000_000}), "{}", "{}"),
    "one key twice": (
        '{"title": 1, "title": "b"}',
        '{"agent": 1, "agent": {"kind": "Agent"}}',
        '{"kind": 1, "kind": 2}',
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_gives_a_conversation_a_row_and_harms_no_other(others: Others, name: str) -> None:
    ids, before, after, listed = others.add_strange(*STRANGE[name])
    assert (ids, after, listed) == (FOUR, before, 4)
