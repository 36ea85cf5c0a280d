"""What a store shows is what plain dictionaries say, whatever is done to it: as a library, by two stores, over HTTP.

`make machine` takes 100,000 steps.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.model.filters import Status
from tests.builders import make_event, make_id
from tests.cli.test_serve import served
from tests.properties.driving import DONE, Driver, Http, Library, Shown

pytestmark = pytest.mark.long

STEPS = int(os.environ.get("CONVSTORE_TEST_STEPS", "600"))
"""How many steps all machines take together."""

STEPS_EACH = 30
KEY = "a-key"

numbers = st.integers(0, 3)
tags = st.dictionaries(st.sampled_from(["area", "kind"]), st.sampled_from(["a", "b", ""]))


class Model(RuleBasedStateMachine):
    """A store and what it must show."""

    directory: ClassVar[Path]
    index: ClassVar[Path]
    serial: ClassVar[count[int]]

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[str, Shown] = {}
        self.deleted: dict[str, list[Shown]] = {}
        self.ids = [make_id(next(self.serial)) for _ in range(4)]
        self.events = count()
        self.moved = False

    def driver(self) -> Driver:
        raise NotImplementedError

    def expect(self, conversation_id: str) -> str:
        """Return what a write to a conversation must answer, all else being right."""
        return DONE if conversation_id in self.live else "conversation_not_found"

    def wrote(self, conversation_id: str) -> None:
        """Note that a write was done."""

    def check(self, conversation_id: str, answer: str) -> bool:
        """Hold an answer to what was expected, and return whether the write was done."""
        assert answer == self.expect(conversation_id)
        if answer == DONE:
            self.wrote(conversation_id)
        return answer == DONE

    @rule(number=numbers)
    def create(self, number: int) -> None:
        one = self.ids[number]
        assert self.driver().create(one) == DONE
        self.live.setdefault(one, Shown(None, {}, []))

    @rule(number=numbers, times=st.integers(1, 3))
    def append(self, number: int, times: int) -> None:
        one = self.ids[number]
        events = [make_event(next(self.events)) for _ in range(times)]
        if self.check(one, self.driver().append(one, events)):
            self.live[one].events.extend(event["id"] for event in events)

    @rule(number=numbers)
    def append_one_that_is_there(self, number: int) -> None:
        one = self.ids[number]
        if self.expect(one) == DONE and self.live[one].events:
            event = make_event(0) | {"id": self.live[one].events[-1]}
            assert self.driver().append(one, [event]) == "event_exists"
            self.wrote(one)

    @rule(number=numbers, title=st.sampled_from(["A title", "Ein Titel: äöü", "\x1b[31mred"]))
    def set_title(self, number: int, title: str) -> None:
        one = self.ids[number]
        if self.check(one, self.driver().set_title(one, title)):
            self.live[one] = self.live[one]._replace(title=title)

    @rule(number=numbers, given=tags)
    def set_tags(self, number: int, given: dict[str, str]) -> None:
        one = self.ids[number]
        if self.check(one, self.driver().set_tags(one, given)):
            self.live[one] = self.live[one]._replace(tags=given)

    @rule(number=numbers, place=st.integers(0, 5))
    def navigate(self, number: int, place: int) -> None:
        one = self.ids[number]
        known = [None, *(self.live[one].events if one in self.live else [])]
        self.check(one, self.driver().navigate(one, known[place % len(known)]))

    @rule(number=numbers, other=numbers)
    def fork(self, number: int, other: int) -> None:
        source, target = self.ids[number], self.ids[other]
        answer = self.driver().fork(source, target)
        if source not in self.live:
            assert answer == "conversation_not_found"
        elif target in self.live:
            assert answer == "conversation_exists"
        else:
            assert answer == DONE
            self.live[target] = Shown(None, {}, [*self.live[source].events])

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        one = self.ids[number]
        if self.check(one, self.driver().delete(one)):
            self.deleted.setdefault(one, []).append(self.live.pop(one))
            self.let_go(one)

    def let_go(self, conversation_id: str) -> None:
        """Note that nobody has a conversation open."""

    @rule(number=numbers)
    def restore(self, number: int) -> None:
        one = self.ids[number]
        answer = self.driver().restore(one)
        if not self.deleted.get(one):
            assert answer == "not_in_trash"
        elif one in self.live:
            assert answer == "conversation_exists"
        else:
            assert answer == DONE
            self.live[one] = self.deleted[one].pop()

    @invariant()
    def shows_what_it_must(self) -> None:
        driver = self.driver()
        assert driver.show() == self.live
        assert driver.count() == len(self.live)


class LibraryMachine(Model):
    """A store as a library, which is closed and opened, and looked through, now and then."""

    stores = 1

    def __init__(self) -> None:
        super().__init__()
        self._root = Path(tempfile.mkdtemp(dir=self.directory))
        (self._root / ".convstore").mkdir()
        shutil.copyfile(self.index, self._root / ".convstore" / "index.db")
        self._stores = [Library(self._root) for _ in range(self.stores)]
        self._turn = 0
        self._owners: dict[str, int] = {}

    def driver(self) -> Library:
        return self._stores[self._turn]

    @rule()
    def reopen(self) -> None:
        self.driver().reopen()
        self._owners = {one: owner for one, owner in self._owners.items() if owner != self._turn}

    @rule()
    def sync(self) -> None:
        self.driver().sync()

    @rule(number=numbers, status=st.sampled_from([Status.PAUSED, Status.FINISHED]))
    def set_status(self, number: int, status: Status) -> None:
        one = self.ids[number]
        self.check(one, self.driver().set_status(one, status))

    def teardown(self) -> None:
        differences = [store.differences() for store in self._stores]
        for store in self._stores:
            store.close()
        shutil.rmtree(self._root)
        assert differences == [[]] * self.stores


class TwoStoresMachine(LibraryMachine):
    """Two stores on one directory, of which one or the other writes: who has it open owns it."""

    stores = 2

    @rule()
    def turn(self) -> None:
        self._turn = 1 - self._turn

    def expect(self, conversation_id: str) -> str:
        known = super().expect(conversation_id)
        other = self._owners.get(conversation_id, self._turn) != self._turn
        return "conversation_owned" if known == DONE and other else known

    def wrote(self, conversation_id: str) -> None:
        self._owners[conversation_id] = self._turn

    def let_go(self, conversation_id: str) -> None:
        self._owners.pop(conversation_id, None)


class HttpMachine(Model):
    """A server, one for all examples: each leaves nothing behind."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._http = Http(self.url, KEY)

    def driver(self) -> Http:
        return self._http

    def teardown(self) -> None:
        for one in self.live:
            self._http.remove(one)
        self._http.close()


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, empty_index: Path) -> None:
    Model.directory, Model.index, Model.serial = tmp_path, empty_index, count(1)


def run(machine: Any, share: float) -> None:
    """Run a machine for its share of the steps."""
    examples = max(1, round(STEPS * share / STEPS_EACH))
    effort = settings(
        max_examples=examples,
        stateful_step_count=STEPS_EACH,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=effort)


def test_a_store_shows_what_it_must() -> None:
    run(LibraryMachine, 0.45)


def test_two_stores_on_one_directory_show_what_they_must() -> None:
    run(TwoStoresMachine, 0.45)


def test_the_api_shows_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with served(tmp_path / "served", CONVSTORE_API_KEY=KEY) as server:
        HttpMachine.url = server.url
        run(HttpMachine, 0.1)
