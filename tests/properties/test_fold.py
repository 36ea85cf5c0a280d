"""The index that many syncs made step by step equals the one that is built at once from the same files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.model.ids import dashed
from tests.builders import (
    index_tables,
    make_conversation,
    make_event,
    make_id,
    make_meta,
    make_state,
    write_event,
)

pytestmark = pytest.mark.long

Tables = dict[str, list[tuple[Any, ...]]]


class Directory:
    """A conversations directory that changes. Every change is visible: times rise, event ids are never given twice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._clock_ns = 1_790_000_000_000_000_000
        self._events = 0

    def find(self, number: int) -> Path | None:
        """Return the directory of a conversation, under its plain or its dashed name."""
        names = (make_id(number), dashed(make_id(number)))
        return next((self.root / name for name in names if (self.root / name).exists()), None)

    def create(self, number: int, value: int) -> None:
        if self.find(number) is None:
            name = dashed(make_id(number)) if value % 3 == 0 else None
            parent = {"parent_conversation_id": make_id(value)} if value % 2 else {}
            self._settle(make_conversation(self.root, number, meta=parent, events=0, directory=name))

    def append(self, number: int, value: int) -> None:
        """Append an event; now and then after a gap, torn, or of a kind that is no activity."""
        self._add_event(number, gap=value % 4 == 0, torn=value % 5 == 0, silent=value % 7 == 0)

    def _add_event(self, number: int, *, gap: bool, torn: bool, silent: bool) -> None:
        directory = self.find(number)
        if directory is None:
            return
        self._events += 1
        place = len(list((directory / "events").iterdir())) + (3 if gap else 0)
        taken = {int(path.name.split("-")[1]) for path in (directory / "events").iterdir()}
        kind = "ConversationStateUpdateEvent" if silent else "MessageEvent"
        event = make_event(self._events, kind=kind, id=f"{self._events:08d}")
        path = write_event(directory, max([place, *(seq + 1 for seq in taken)]), event)
        if torn:
            path.write_text(path.read_text()[:-5])
        self._settle(directory)

    def retitle(self, number: int, value: int) -> None:
        self._write(number, "meta.json", json.dumps(make_meta(make_id(number), title=f"title {value}")))

    def change_status(self, number: int, value: int) -> None:
        status = ("idle", "running", "unheard of")[value % 3]
        self._write(number, "base_state.json", json.dumps(make_state(make_id(number), execution_status=status)))

    def tear(self, number: int, value: int) -> None:
        name = ("meta.json", "base_state.json")[value % 2]
        self._write(number, name, "{" if value % 3 else "")

    def lose_a_file(self, number: int, value: int) -> None:
        directory = self.find(number)
        if directory is not None:
            files = sorted(path for path in directory.rglob("*") if path.is_file())
            if len(files) > 1:
                files[value % len(files)].unlink()
                self._settle(directory)

    def delete(self, number: int, _value: int) -> None:
        directory = self.find(number)
        if directory is not None:
            shutil.rmtree(directory)

    def rename(self, number: int, _value: int) -> None:
        directory = self.find(number)
        plain = make_id(number)
        if directory is not None:
            target = self.root / (dashed(plain) if directory.name == plain else plain)
            if not target.exists():
                directory.rename(target)

    def duplicate(self, number: int, _value: int) -> None:
        directory = self.find(number)
        if directory is not None and directory.name != make_id(number):
            make_conversation(self.root, number, meta={"title": "the plain one"}, events=0)
            self._settle(self.root / make_id(number))

    def _write(self, number: int, name: str, text: str) -> None:
        directory = self.find(number)
        if directory is not None:
            (directory / name).write_text(text)
            self._settle(directory)

    def _settle(self, directory: Path) -> None:
        """Give what has just changed a time of its own: a real clock's tick may be too coarse for a test."""
        for path in (directory / "meta.json", directory / "base_state.json", directory / "events"):
            if path.exists():
                self._clock_ns += 1_000
                os.utime(path, ns=(self._clock_ns, self._clock_ns))


CHANGES: list[Callable[[Directory, int, int], None]] = [
    Directory.create,
    Directory.append,
    Directory.append,
    Directory.retitle,
    Directory.change_status,
    Directory.tear,
    Directory.lose_a_file,
    Directory.delete,
    Directory.rename,
    Directory.duplicate,
]


class Change(NamedTuple):
    """One change of a conversation, and whether a sync follows."""

    make: Callable[[Directory, int, int], None]
    number: int
    value: int
    synced: bool


STEPS = st.lists(
    st.builds(Change, st.sampled_from(CHANGES), st.integers(0, 3), st.integers(0, 210), st.booleans()), max_size=40
)


async def built_at_once(root: Path, path: Path) -> Tables:
    async with ConversationStore.open(Settings(store=root, index_url=f"sqlite:///{path}")) as store:
        await store.sync(allow_empty=True)
    return index_tables(path)


async def built_step_by_step(directory: Directory, path: Path, steps: list[Change]) -> Tables:
    async with ConversationStore.open(Settings(store=directory.root, index_url=f"sqlite:///{path}")) as store:
        for step in steps:
            step.make(directory, step.number, step.value)
            if step.synced:
                await store.sync(allow_empty=True)
        await store.sync(allow_empty=True)
    return index_tables(path)


def first_steps() -> list[Change]:
    """Return how four conversations with some events come into being, so that an example has something to change."""
    created = [Change(Directory.create, number, number, synced=False) for number in range(4)]
    return created + [Change(Directory.append, number, 1 + number, number == 2) for number in range(4)]


@given(steps=STEPS)
@settings(max_examples=40, deadline=None)
def test_step_by_step_gives_the_index_that_is_built_at_once(empty_index: Path, steps: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Directory(Path(temporary) / "conversations")
        directory.root.mkdir()
        ours, fresh = Path(temporary) / "ours.db", Path(temporary) / "fresh.db"
        shutil.copyfile(empty_index, ours)
        shutil.copyfile(empty_index, fresh)
        grown = asyncio.run(built_step_by_step(directory, ours, [*first_steps(), *steps]))
        assert grown == asyncio.run(built_at_once(directory.root, fresh))
