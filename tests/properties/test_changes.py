"""Whoever follows the change feed and applies it has the same list as one that asks again."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.errors import ChangesGone
from app.model.change_token import ChangeToken
from app.store.follow.rebuild import rebuild
from tests.builders import make_conversation, make_id, make_meta, write_event

pytestmark = pytest.mark.long

NUMBERS = st.integers(0, 2)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "delete", "retitle", "append", "adopt", "adopt", "rebuild"]),
        NUMBERS,
        NUMBERS,
        st.booleans(),
    ),
    min_size=5,
    max_size=25,
)
"""What happens, to which conversation, with which other, and whether the follower looks afterwards."""


class Follower:
    """A copy of the list that is kept by the change feed alone."""

    def __init__(self, limit: int) -> None:
        self.list: dict[str, bytes] = {}
        self.limit = limit
        self.place: ChangeToken | None = None

    async def look(self, store: ConversationStore) -> None:
        more = True
        while more:
            try:
                page = await store.list_changes(self.place, self.limit)
            except ChangesGone:
                self.list, self.place = {}, None
                continue
            for change in page.items:
                if change.info is None:
                    self.list.pop(change.id, None)
                else:
                    self.list[change.id] = change.info
            self.place, more = page.next, page.more


def step(root: Path, what: str, one: int, two: int) -> None:
    directory = root / make_id(one)
    if what == "create" and not directory.exists():
        make_conversation(root, one, events=1)
    if not directory.exists():
        return
    if what == "delete":
        shutil.rmtree(directory)
    if what == "retitle":
        (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title=f"Title {time.time_ns()}")))
    if what == "append":
        write_event(directory, len(list((directory / "events").iterdir())))
    if what == "adopt":
        (directory / "meta.json").write_text(
            json.dumps(
                make_meta(directory.name, parent_conversation_id=make_id(two), created_at="2026-10-02T00:00:00Z")
            )
        )


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.differing_executors],
)
@given(steps=STEPS, limit=st.integers(1, 3))
async def test_a_follower_has_the_list_of_one_that_asks_again(
    tmp_path: Path, empty_index: Path, steps: list[tuple[str, int, int, bool]], limit: int
) -> None:
    root = tmp_path / str(time.time_ns())
    (root / ".convstore").mkdir(parents=True)
    shutil.copyfile(empty_index, root / ".convstore" / "index.db")
    make_conversation(root, 9)  # an empty directory would be taken for a lost disk
    follower = Follower(limit)
    async with ConversationStore.open(Settings(store=root)) as store:
        for what, one, two, look in [*steps, ("create", 0, 0, True)]:
            step(root, what, one, two)
            if what == "rebuild":
                await rebuild(Settings(store=root), lambda *_: None, force=True)
            await store.sync()
            if look:
                await follower.look(store)
                page = await store.list_conversations()
                listed = {orjson.loads(body)["id"].replace("-", ""): body for body in page.items}
                assert follower.list == listed
    shutil.rmtree(root)
