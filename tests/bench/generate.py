"""Making conversations directories of any size, the same for the same arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

import orjson

from app.model.ids import ConversationId
from tests.bench.shapes import STATUSES, Json, make_log, make_meta, make_skills, make_speech, make_state, new_id

_TEMPLATES = 40
_CHILD_EVERY = 20
_PARENTS = 50
_BEGIN = datetime(2025, 1, 2, tzinfo=UTC)


class _Log(NamedTuple):
    """A log that is on disk: the directory of its files, their names in order, and the last event's id."""

    directory: Path
    names: list[str]
    leaf: str


def make_store(root: Path, count: int, *, seed: int = 1, state_kb: int = 0, talkative: bool = False) -> None:
    """Write `count` conversations under `root`, about 17 events each.

    Every base_state.json is padded with skills to about `state_kb` kB. Logs are hard links to those of a few
    conversations, so nothing may write into an event file; not when `talkative`: then the agent says something else,
    of some 500 characters, before every use of a tool.
    """
    random = Random(seed)  # noqa: S311 - made-up data
    speech = make_speech(random) if talkative else None
    skills = make_skills(state_kb)
    logs: list[_Log] = []
    parents: list[UUID] = []
    for number in range(count):
        conversation_id = new_id(random)
        directory = root / conversation_id.hex
        (directory / "events").mkdir(parents=True)
        if talkative:
            leaf = _write_log(directory, random, speech=speech).leaf
        elif len(logs) < _TEMPLATES:
            logs.append(_write_log(directory, random))
            leaf = logs[-1].leaf
        else:
            leaf = _link_log(directory, logs[number % _TEMPLATES])
        parent = random.choice(parents) if parents and number % _CHILD_EVERY == 0 else None
        _write_files(directory, conversation_id, random, leaf=leaf, parent=parent, skills=skills)
        parents = [*parents[1 - _PARENTS :], conversation_id]


def add_long_conversation(root: Path, events: int, *, state_kb: int = 0) -> ConversationId:
    """Write one more conversation, of this even number of events, and return its id."""
    random = Random(-events)  # noqa: S311 - made-up data
    conversation_id = new_id(random)
    directory = root / conversation_id.hex
    (directory / "events").mkdir(parents=True)
    log = _write_log(directory, random, (events - 4) // 2)
    _write_files(directory, conversation_id, random, leaf=log.leaf, parent=None, skills=make_skills(state_kb))
    return ConversationId(conversation_id.hex)


def _write_files(
    directory: Path, conversation_id: UUID, random: Random, *, leaf: str, parent: UUID | None, skills: list[Json]
) -> None:
    created = _BEGIN + timedelta(seconds=random.randrange(40_000_000))
    updated = created + timedelta(seconds=random.randrange(1, 500_000))
    meta = make_meta(
        conversation_id,
        title="Add retry with jitter to the client",
        created_at=_format(created),
        updated_at=_format(updated),
        parent=parent,
    )
    state = make_state(conversation_id, status=random.choice(STATUSES), leaf=leaf, skills=skills)
    (directory / "meta.json").write_bytes(orjson.dumps(meta))
    (directory / "base_state.json").write_bytes(orjson.dumps(state))


def _write_log(
    directory: Path, random: Random, rounds: int | None = None, *, speech: Iterator[str] | None = None
) -> _Log:
    events = make_log(random, rounds, speech)
    names = [f"event-{number:05d}-{event['id']}.json" for number, event in enumerate(events)]
    for name, event in zip(names, events, strict=True):
        (directory / "events" / name).write_bytes(orjson.dumps(event))
    return _Log(directory / "events", names, events[-1]["id"])


def _link_log(directory: Path, log: _Log) -> str:
    source, target = f"{log.directory}/", f"{directory}/events/"
    for name in log.names:
        os.link(source + name, target + name)
    return log.leaf


def _format(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
