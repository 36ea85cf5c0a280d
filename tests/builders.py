"""Conversations made for a test, as agent-server 1.58 writes them. Every argument has a default."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

BEGIN = datetime(2026, 10, 1, 12, tzinfo=UTC)


def make_id(number: int) -> str:
    """Return the id, 32 hexadecimal digits, of the test's `number`-th conversation or event."""
    return uuid.UUID(int=number, version=4).hex


def make_event(number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the `number`-th event of a log; a user's message unless `fields` say otherwise."""
    return {
        "id": str(uuid.UUID(make_id(10_000 + number))),
        "timestamp": (BEGIN.replace(tzinfo=None) + timedelta(seconds=number)).isoformat(),
        "source": "user",
        "llm_message": {"role": "user", "content": [{"type": "text", "text": f"message {number}"}]},
        "kind": "MessageEvent",
    } | fields


def make_message_event(number: int, *texts: str, **fields: Any) -> dict[str, Any]:
    """Return an event with a message of `texts`, each in a block of its own."""
    content = [{"type": "text", "text": text} for text in texts]
    return make_event(number, llm_message={"role": "user", "content": content}, **fields)


def make_meta(conversation_id: str, **fields: Any) -> dict[str, Any]:
    """Return a meta.json."""
    return {
        "id": conversation_id,
        "title": "A title",
        "created_at": "2026-10-01T12:00:00Z",
        "updated_at": "2026-10-01T13:00:00Z",
        "tags": {},
        "parent_conversation_id": None,
        "forked_from_conversation_id": None,
    } | fields


def make_state(conversation_id: str, **fields: Any) -> dict[str, Any]:
    """Return a base_state.json."""
    return {
        "id": str(uuid.UUID(conversation_id)),
        "agent": {"kind": "Agent", "llm": {"model": "a/model", "api_key": "**********"}, "tools": []},
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/home/dev/project"},
        "execution_status": "finished",
        "stats": {"usage_to_metrics": {}},
        "secret_registry": {"secret_sources": {}},
        "tags": {},
    } | fields


def write_event(directory: Path, number: int, event: dict[str, Any] | None = None) -> Path:
    """Write one event file at a place of a log and return its path."""
    body = make_event(number) if event is None else event
    path = directory / "events" / f"event-{number:05d}-{body['id']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(body))
    return path


def make_conversation(
    root: Path,
    number: int = 1,
    *,
    meta: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    events: int | list[dict[str, Any]] = 2,
    directory: str | None = None,
) -> Path:
    """Write the test's `number`-th conversation and return its directory.

    `meta` and `state` are fields to set; `events` is how many messages it has, or the events themselves.
    """
    conversation_id = make_id(number)
    path = root / (directory or conversation_id)
    path.mkdir(parents=True)
    (path / "meta.json").write_text(json.dumps(make_meta(conversation_id, **(meta or {}))))
    (path / "base_state.json").write_text(json.dumps(make_state(conversation_id, **(state or {}))))
    (path / "events").mkdir()
    for place, event in enumerate([make_event(i) for i in range(events)] if isinstance(events, int) else events):
        write_event(path, place, event)
    return path


NEW_CONVERSATION = {
    "agent": {
        "llm": {"model": "a/model", "api_key": "sk-plain"},
        "tools": [],
        "mcp_config": {"m": {"command": "a", "env": {"T": "plain-2"}}},
    },
    "workspace": {"working_dir": "/home/dev/new"},
    "secrets": {"TOKEN": {"kind": "StaticSecret", "value": "plain-3"}},
    "tags": {"area": "store"},
    "initial_message": {"role": "user", "content": [{"type": "text", "text": "hello"}], "unknown": 1},
    "unknown_field": True,
}
"""A StartConversationRequest with secrets, a tag, a message and unknown fields."""


FOREIGN = {
    "older OpenHands": ("metadata.json", "events/0.json", "agent_state.pkl"),
    "own files": ("thesis.txt",),
    "own directory": ("photos/1.jpg",),
    "events of other names": ("events/notes.txt",),
    "an event that never was": (f"events/.event-00000-{uuid.UUID(int=1)}.json.0123456789abcdef.tmp",),
    "locks and one more": (".owner_lease.lock", "events/.eventlog.lock", "notes.txt"),
    "a lock's name": ("owner_lease.json/notes.txt",),
    "a file": (),
    "a link": (),
    "a link to nothing": (),
}
"""What is no conversation, and not to be touched, though a conversation's id is its name: the files in it."""


def make_foreign(path: Path, what: str) -> None:
    """Put something of `FOREIGN` at a path."""
    if what == "a file":
        path.write_text("only copy")
    elif what == "a link":
        elsewhere = path.parent.parent / f"{path.name}-elsewhere"
        make_conversation(elsewhere.parent, 77, directory=elsewhere.name)
        path.symlink_to(elsewhere, target_is_directory=True)
    elif what == "a link to nothing":
        path.symlink_to(path.parent.parent / "nowhere")
    for name in FOREIGN[what]:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("only copy")


def details_in(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, mtime and content of what is at a path and in it; of a link where it leads, and what is there."""
    inside = [path, *(Path(at, name) for at, dirs, files in os.walk(path) for name in (*dirs, *files))]
    return {
        str(one): (
            one.lstat().st_mode,
            one.lstat().st_mtime_ns,
            os.fsencode(one.readlink()) if one.is_symlink() else one.read_bytes() if one.is_file() else b"",
        )
        for one in inside
    }


def names_in(path: Path) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(inner.name for inner in path.iterdir())


def index_path(root: Path) -> Path:
    """Return where the index of a conversations directory is, unless a setting says otherwise."""
    return root / ".convstore" / "index.db"


_HELD = {
    "conversation": """
        SELECT uuid, directory, title, status, created_at, updated_at, last_event_at, event_count, workspace,
               agent_kind, model, parent, forked_from, cost, tokens, unreadable, archived, title_key, events_behind,
               usage, openable, pinned
        FROM conversation ORDER BY uuid""",
    "conversation_info": """
        SELECT uuid, body, preview, shared FROM conversation_info JOIN conversation ON conversation = id
        ORDER BY uuid""",
    "shared_info": "SELECT hash, body FROM shared_info ORDER BY hash",
    "conversation_tag": """
        SELECT uuid, key, value FROM conversation_tag LEFT JOIN conversation ON conversation = id
        ORDER BY uuid, key""",
    "event": """
        SELECT uuid, seq, event_id, kind, source, timestamp, tool, event.unreadable
        FROM event LEFT JOIN conversation ON conversation = id ORDER BY uuid, seq, event_id""",
    "activity": """
        SELECT uuid, quarter, events FROM activity LEFT JOIN conversation ON conversation = id
        ORDER BY uuid, quarter""",
    "log_block": """
        SELECT uuid, block, kind, source, tool, events, log_block.unreadable
        FROM log_block LEFT JOIN conversation ON conversation = id ORDER BY uuid, block, kind, source, tool""",
    "tally": "SELECT facet, archived, value, number FROM tally ORDER BY facet, archived, value",
    "tally_day": "SELECT name, archived, status, day, number FROM tally_day ORDER BY name, archived, status, day",
    "edit": """
        SELECT uuid, seq, event_id, path FROM edit LEFT JOIN conversation ON conversation = id
        ORDER BY uuid, seq, event_id, path""",
    "message": """
        SELECT uuid, seq, event_id, text, tool_text, message.id >> 43
        FROM message LEFT JOIN conversation ON conversation = conversation.id ORDER BY uuid, seq, event_id""",
    "sync_state": "SELECT phase, done, total, last_error, derived_by FROM sync_state",
}


def break_index(root: Path) -> None:
    """Overwrite the index with its log and the map of the log, so that the next look at it fails."""
    for suffix in ("", "-wal", "-shm"):
        with (root / ".convstore" / f"index.db{suffix}").open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(0)
            file.write(b"\x55" * size)


def index_tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that an index holds, apart from what differs between equal ones: keys, signatures, revision, times."""
    with index_database(path) as db:
        return {table: db.execute(sql).fetchall() for table, sql in _HELD.items()}


@contextmanager
def index_database(path: Path) -> Iterator[IndexDatabase]:
    """Open the database of an index as another program does. What the block does is committed at its end.

    The index is the one in PostgreSQL, if the settings name one, or else the file `path`.
    """
    server = os.environ.get("CONVSTORE_INDEX_URL", "")
    if not server.startswith("postgresql"):
        with closing(sqlite3.connect(path)) as db, db:
            yield db
        return
    import psycopg  # noqa: PLC0415 - need not be installed

    with psycopg.connect(server, options=f"-csearch_path={os.environ['CONVSTORE_INDEX_SCHEMA']}") as connection:
        yield _PostgresDatabase(connection)


class IndexDatabase(Protocol):
    """A connection to an index. Parameters are written as `?`."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run a statement and return its cursor."""


class _PostgresDatabase:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run a statement and return its cursor."""
        return self._connection.execute(sql.replace("?", "%s"), parameters or None)


class SecondProcess:
    """Another Python process, which speaks in lines."""

    def __init__(self, process: subprocess.Popen[bytes], code: str) -> None:
        self._process = process
        self._code = code
        self._heard = b""

    def hear(self, within_s: float = 120) -> str:
        """Wait for its next line; "" when it has ended. One that says nothing is ended, and tells where it stands."""
        assert self._process.stdout is not None
        until = time.monotonic() + within_s
        while b"\n" not in self._heard:
            if not select.select([self._process.stdout], [], [], max(0, until - time.monotonic()))[0]:
                self.signal("ABRT")  # faulthandler writes the stacks of its threads to stderr
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(60)
                raise TimeoutError(f"no line within {within_s:g} s from the process that runs\n{self._code}")
            some = os.read(self._process.stdout.fileno(), 65536)
            if not some:
                break
            self._heard += some
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def say(self, line: str = "") -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def signal(self, name: str) -> None:
        """Send it a signal, e.g. STOP or CONT."""
        self._process.send_signal(getattr(signal, f"SIG{name}"))

    def end(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        return self._process.wait(60)

    def kill(self) -> None:
        """End it at once, as a power cut would, and wait until it has ended."""
        self._process.kill()
        self._process.wait()


@contextmanager
def second_process(code: str, *arguments: object) -> Iterator[SecondProcess]:
    """Run Python code in another process, with sys.argv[1:] of `arguments`; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield SecondProcess(process, code)
        finally:
            process.kill()


_APPEND = """
import asyncio, os, sys, time, uuid
from app import ConversationStore, Settings
from tests.builders import make_event, make_id

slow_head_s, pwrite = float(sys.argv[2]), os.pwrite

def slow(*arguments):
    time.sleep(slow_head_s)
    return pwrite(*arguments)

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        await store.sync()
        async with store.writer(make_id(1)) as conversation:
            await conversation.append(make_event(5))
            os.pwrite = slow
            print("writing", flush=True)
            while True:
                await conversation.append(make_event(6, id=str(uuid.uuid4())))

asyncio.run(main())
"""


@contextmanager
def appending(root: Path, *, slow_head_s: float = 0) -> Iterator[None]:
    """Have another process append to the first conversation meanwhile, on a disk that may be slow to take HEAD."""
    with second_process(_APPEND, root, slow_head_s) as other:
        assert other.hear() == "writing"
        yield


_HOLD_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_by_another_process(lock: Path) -> Iterator[None]:
    """Have another process hold a lock file meanwhile."""
    with second_process(_HOLD_LOCK, lock) as other:
        assert other.hear() == "held"
        yield


_HOLD_INDEX = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def busy_index(root: Path) -> Iterator[None]:
    """Have another program hold the write lock of a store's index meanwhile; it is free at once afterwards."""
    if os.environ.get("CONVSTORE_INDEX_URL", "").startswith("postgresql"):
        with index_database(root) as database:
            database.execute("UPDATE turn SET number = number + 1")
            yield
        return
    with second_process(_HOLD_INDEX, root / ".convstore" / "index.db") as other:
        assert other.hear() == "held"
        yield


_recorders: list[list[str]] = []
_hooked: list[bool] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        for recorder in _recorders:
            recorder.append(str(arguments[0]))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Collect the paths of all files and directories that this process opens meanwhile, as they were given."""
    if not _hooked:
        sys.addaudithook(_record)
        _hooked.append(True)
    seen: list[str] = []
    _recorders.append(seen)
    try:
        yield seen
    finally:
        _recorders[:] = [recorder for recorder in _recorders if recorder is not seen]
