"""`convstore tail`."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app.cli import tail
from app.files.log.event_log import RawEvent
from tests.builders import make_conversation, make_event, make_id, second_process, write_event
from tests.cli.conftest import Command
from tests.conftest import StoreOpener

ONE = make_id(1)
COMMAND = "from app.cli.main import run; run()"
MEASURED = f"""
import atexit, pathlib, sys
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(*(line for line in status.read_text().splitlines() if "VmHWM" in line), file=sys.stderr))
{COMMAND}
"""
TAILS = 24
SHOWN = 4

# Appends as a server does, hundreds of events a second: all that there are are read again for each tail.
WRITER = """
import asyncio, sys, uuid
from app import ConversationStore, Settings
from tests.builders import make_event, make_id

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        await store.sync()
        async with store.writer(make_id(1)) as conversation:
            print("writing", flush=True)
            while True:
                await conversation.append(make_event(6, id=str(uuid.uuid4())))
                await asyncio.sleep(0.002)

asyncio.run(main())
"""


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


@pytest.mark.long
async def test_beside_a_writer_it_shows_the_last_and_those_to_come_each_once(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root, events=5)
    shown: list[int] = []

    def show(event: RawEvent, **_: bool) -> None:
        shown.append(event.name.seq)
        if len(shown) == SHOWN:
            raise KeyboardInterrupt

    monkeypatch.setattr(tail, "_print", show)
    with second_process(WRITER, root) as writer:
        assert writer.hear() == "writing"
        for _ in range(TAILS):
            shown.clear()
            with suppress(KeyboardInterrupt):
                async with open_store(root, synced=False) as store:
                    await tail._tail(store, ONE, 2, follow=True, full=True, json=True)
            assert shown == list(range(shown[0], shown[0] + SHOWN))


@pytest.mark.long
@pytest.mark.parametrize(
    "command", [("tail", "-n", "12"), ("tail", "-n", "12", "--json"), ("show",), ("show", "--json")]
)
def test_of_events_of_20_mb_one_is_in_memory(root: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    directory = make_conversation(root, events=0)
    for number in range(12):
        write_event(directory, number, make_event(number, extra="x" * 20_000_000))
    ran = [sys.executable, "-c", MEASURED, command[0], ONE, "--store", str(root), *command[1:]]
    with (tmp_path / "out").open("wb") as out:
        ended = subprocess.run(ran, stdout=out, stderr=subprocess.PIPE, check=True)
    assert (tmp_path / "out").read_bytes().count(b"message 11") == 1
    assert int(ended.stderr.split()[-2]) < 300_000
