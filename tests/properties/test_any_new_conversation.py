"""Whatever stands anywhere in a request to create a conversation, it is refused, or makes one that can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.errors import InvalidConversation, InvalidEvent, ParentRefused
from app.model.filters import ConversationFilter
from tests.properties.test_any_json import JSON

REQUEST: dict[str, Any] = {
    "agent": {
        "kind": "Agent",
        "llm": {"model": "a/model", "api_key": "secret"},
        "tools": [],
        "mcp_config": {},
        "agent_context": {},
    },
    "workspace": {"kind": "LocalWorkspace", "working_dir": "/home/dev/project"},
    "initial_message": {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    "title": "A title",
    "tags": {"area": "auth"},
    "secrets": {"TOKEN": {"kind": "StaticSecret", "value": "secret"}},
    "confirmation_policy": {"kind": "NeverConfirm"},
    "security_analyzer": None,
    "hook_config": None,
    "max_iterations": 500,
    "stuck_detection": True,
    "worktree": False,
    "client_tools": [],
    "plugins": [],
    "agent_definitions": [],
    "tool_module_qualnames": {},
    "observability_span_name": "conversation",
    "parent_conversation_id": None,
    "autotitle": True,
    "user_id": "somebody",
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield (*path, name)
        yield from places(item, (*path, name))


PLACES = list(places(REQUEST))


class Creating(NamedTuple):
    """An open store, and a loop to run it on."""

    runner: asyncio.Runner
    store: ConversationStore

    def create(self, request: dict[str, Any]) -> bool:
        """Create a conversation, and return whether it can be read; or refuse it, and leave nothing of it."""
        return self.runner.run(self._create(request))

    async def _create(self, request: dict[str, Any]) -> bool:
        before = await self.store.count_conversations()
        try:
            one = (await self.store.create(request)).id
        except (InvalidConversation, InvalidEvent, ParentRefused):
            return await self.store.count_conversations() == before
        return one not in await self.store.list_ids(ConversationFilter(unreadable=True))


@pytest.fixture(scope="module")
def creating(tmp_path_factory: pytest.TempPathFactory, _shared_index: str) -> Iterator[Creating]:
    root = tmp_path_factory.mktemp("any-new") / "conversations"
    root.mkdir()
    opening = ConversationStore.open(Settings(store=root))
    with asyncio.Runner() as runner:
        yield Creating(runner, runner.run(opening.__aenter__()))
        runner.run(opening.__aexit__(None, None, None))


@given(place=st.sampled_from(PLACES), value=JSON)
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_is_refused_or_makes_a_conversation_that_can_be_read(
    creating: Creating, place: tuple[Any, ...], value: Any
) -> None:
    request = deepcopy(REQUEST)
    inside: Any = request
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    assert creating.create(request)


def test_the_request_as_it_is_makes_one(creating: Creating) -> None:
    before = creating.runner.run(creating.store.count_conversations())
    assert creating.create(REQUEST)
    assert creating.runner.run(creating.store.count_conversations()) == before + 1
