"""What must hold after writers were killed: nothing acknowledged is lost or twice, and index and files agree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app import ConversationStore, Settings
from app.files import layout, trash
from app.files.layout import list_event_names
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, event_file_name, find_conversation_id, parse_conversation_id
from tests.builders import make_id, opened_files
from tests.faults.workload import CONVERSATIONS, Said, Workload


def find_places(root: Path) -> dict[ConversationId, list[Path]]:
    """Return where each conversation is, in the store or in the trash."""
    places: dict[ConversationId, list[Path]] = defaultdict(list)
    named, again = layout.list_directories(root)
    assert again == [], "a second directory for an id"
    for directory in named:
        places[parse_conversation_id(directory)].append(root / directory)
    for entry in trash.list_trash(root):
        places[entry.id].append(root / trash.TRASH / entry.name)
    return places


def check_files(workload: Workload) -> None:
    """Compare what is on disk with what was acknowledged.

    Raises:
        AssertionError: something was lost, is there twice, or is torn.
    """
    places = find_places(workload.root)
    forked = {said["id"] for said in workload.said if said.get("done") == "fork"}
    for one in {make_id(number) for number in range(1, CONVERSATIONS + 1)} | forked:
        assert len(places[ConversationId(one)]) == 1, f"{one} is at {places[ConversationId(one)]}"
    about: dict[str, list[Said]] = defaultdict(list)
    for said in workload.said:
        if "id" in said:
            about[said["id"]].append(said)
    for one, [path] in places.items():
        _check_log(path, about[one])
        _check_title(path, about[one])


def _check_log(path: Path, said: list[Said]) -> None:
    with layout.open_directory(path / layout.EVENTS) as events_fd:
        names = list_event_names(events_fd)
    assert [name.seq for name in names] == list(range(len(names))), f"a gap or a number twice in {path}"
    assert len({name.event_id for name in names}) == len(names), f"an event twice in {path}"
    there = {(name.seq, name.event_id) for name in names}
    known: set[str | None] = {None, "__root__"}
    for name in names:
        event = json.loads((path / layout.EVENTS / event_file_name(name)).read_bytes())
        assert event["id"] == name.event_id
        assert event.get("parent_id") in known, f"{name} of {path} follows an event that is not there"
        known.add(name.event_id)
    for each in said:
        if each.get("done") == "append":
            lost = set(zip(each["seqs"], each["events"], strict=True)) - there
            assert not lost, f"acknowledged, and lost in {path}: {lost}"


def _check_title(path: Path, said: list[Said]) -> None:
    done = [each["title"] for each in said if each.get("done") == "rename"]
    if done:
        possible = {done[-1]} | ({each["title"] for each in said if each.get("do") == "rename"} - set(done))
        assert json.loads((path / layout.META).read_bytes())["title"] in possible, f"a title was lost in {path}"


async def check_recovery(root: Path, said: list[Said]) -> Sequence[ConversationId]:
    """Open the store as after a crash, and return what was read again first; `said` is all since the last check.

    Raises:
        AssertionError: more was read than was open, HEAD stayed behind, or index and files differ afterwards.
    """
    async with ConversationStore.open(Settings(store=root)) as store:
        with opened_files() as opened:
            recovered = await store.recover()
        inside = {_conversation_of(path, root) for path in opened} - {None}
        assert inside <= set(recovered.read) <= _perhaps_open(said)
        await store.sync()
        assert await store.verify() == []
        for one in await store.list_ids(ConversationFilter()):
            if _head(root / one) != _last(root / one):
                async with store.writer(one):
                    assert _head(root / one) == _last(root / one), f"HEAD of {one} stayed behind"
        assert await store.verify() == []
    return recovered.read


def _perhaps_open(said: list[Said]) -> set[str]:
    """Return what each process had open at its end: it keeps one, beside the one that it is about to open or close."""
    last: dict[int, list[str]] = defaultdict(list)
    kept: dict[int, list[str]] = defaultdict(list)
    for each in said:
        if "id" in each:
            last[each["pid"]] = [each["id"]]
            if each.get("done") in {"append", "rename"} and each["id"] not in kept[each["pid"]][-1:]:
                kept[each["pid"]] = [*kept[each["pid"]][-1:], each["id"]]
    return {one for ids in (*last.values(), *kept.values()) for one in ids}


def _conversation_of(path: str, root: Path) -> ConversationId | None:
    inside = path.removeprefix(f"{root}/").split("/")[0]
    return find_conversation_id(inside)


def _head(path: Path) -> Any:
    return json.loads((path / layout.STATE).read_bytes())["leaf_event_id"]


def _last(path: Path) -> str:
    return max((path / layout.EVENTS).glob("event-*.json")).stem[len("event-00000-") :]
