"""A ConversationInfo from the files: the agent's skills, which the index leaves out, and all else as it is listed."""

from __future__ import annotations

from pathlib import Path

import orjson

from app.model.ids import ConversationId
from tests.builders import busy_index, make_conversation, make_id, make_meta
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
AGENT = {"kind": "Agent", "llm": {"model": "a/model"}, "agent_context": {"skills": [{"name": "a skill"}]}}


async def test_skills_come_only_when_asked_for_and_change_nothing_else(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, state={"agent": AGENT})
    make_conversation(root, 2, meta={"parent_conversation_id": ONE})
    async with open_store(root) as store:
        without = orjson.loads(await store.get_conversation(ONE))
        whole = orjson.loads(await store.get_conversation(ONE, include_skills=True))
    assert without["agent"]["agent_context"]["skills"] == []
    assert whole["agent"]["agent_context"]["skills"] == [{"name": "a skill"}]
    del without["agent"], whole["agent"]
    assert whole == without


async def test_behind_a_warning_a_conversation_is_shown_as_its_files_are(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root, busy_timeout_s=0.1) as store:
        listed = orjson.loads(await store.get_conversation(ONE))
        (path / "meta.json").write_bytes(orjson.dumps(make_meta(ONE, title="Changed")))
        with busy_index(root):
            body, warning = await store.describe(ONE, "the index is behind")
    assert (orjson.loads(body), warning) == (listed | {"title": "Changed"}, "the index is behind")
