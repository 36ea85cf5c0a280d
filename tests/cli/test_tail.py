"""`convstore tail`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders import make_conversation, make_event, make_id, second_process, write_event
from tests.cli.conftest import Command

ONE = make_id(1)
COMMAND = "from app.cli.main import run; run()"


def ids(text: str) -> list[str]:
    return [json.loads(line)["id"] for line in text.splitlines()]


def test_it_shows_the_last_events(root: Path, convstore: Command) -> None:
    make_conversation(root, events=5)
    ran = convstore("tail", ONE, "--store", root, "-n", 2)
    assert (ran.code, [number for number in range(5) if f"message {number}" in ran.out]) == (0, [3, 4])


def test_of_an_update_of_the_state_it_shows_the_key_alone(root: Path, convstore: Command) -> None:
    state = {"agent": {"llm": {"api_key": "planted"}}}
    update = make_event(0, kind="ConversationStateUpdateEvent", source="environment", key="full_state", value=state)
    make_conversation(root, events=[update])
    for command in ("tail", "show"):
        ran = convstore(command, ONE, "--store", root)
        assert (ran.code, "key: full_state" in ran.out, "planted" in ran.out) == (0, True, False)


def test_as_json_it_prints_an_event_a_line(root: Path, convstore: Command) -> None:
    make_conversation(root, events=5)
    ran = convstore("tail", ONE, "--store", root, "-n", 2, "--json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [make_event(3), make_event(4)]


def test_of_none_it_shows_none(root: Path, convstore: Command) -> None:
    make_conversation(root, events=5)
    assert convstore("tail", ONE, "--store", root, "-n", 0).out == ""


def test_it_follows_what_another_program_appends(root: Path) -> None:
    directory = make_conversation(root, events=5)
    with second_process(COMMAND, "tail", ONE, "--store", root, "-n", 1, "-f", "--json") as tail:
        seen = [tail.hear()]
        for number in (5, 6):
            write_event(directory, number)
            seen.append(tail.hear())
        tail.signal("INT")
        assert tail.end() == 130
    assert ids("\n".join(seen)) == [make_event(number)["id"] for number in (4, 5, 6)]
