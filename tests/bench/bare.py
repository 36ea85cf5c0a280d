"""The system calls and the SQL of an append and nothing around them: what no writer with these promises can avoid."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from app.index.sqlite.write_connection import on_connect
from app.model.text.tokenizer import split

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_CHANGED = "updated_at = :now, last_event_at = :now, event_count = :seq, revision = :seq"
_STATEMENTS = (
    f"UPDATE conversation SET {_CHANGED} WHERE id = :key",
    "UPDATE conversation_info SET body = :body WHERE conversation = :key",
    "INSERT INTO message (id, conversation, seq, event_id, text) VALUES (:message, :key, :seq, :event, :text)",
    "INSERT INTO message_fts (rowid, text) VALUES (:message, :words)",
    "INSERT INTO event (conversation, seq, event_id, kind, source) VALUES (:key, :seq, :event, 'MessageEvent', 'user')",
)
_FIRST_SEQ = 1_000_000
_FIRST_MESSAGE = 1 << 45
"""Higher than those that the index has."""


class BareIndex:
    """The SQL of appends, in an index that has their conversations; one transaction for all threads that wait."""

    def __init__(self, path: Path, text: str) -> None:
        """Nothing else may have the index `path` open."""
        self._database = sqlite3.connect(path, check_same_thread=False)
        on_connect(self._database, None)
        with closing(self._database.execute("SELECT body FROM conversation_info WHERE conversation = 1")) as found:
            [body] = found.fetchone()
        self._shared = {"text": text, "words": split(text), "body": body}
        self._numbers = count()
        self._waiting: list[dict[str, Any]] = []
        self._lock = Lock()

    def write(self, key: int, event_id: str) -> None:
        """Write an event's rows of the conversation `key`, in this thread or in another that writes now."""
        number = next(self._numbers)
        place: dict[str, Any] = {"key": key, "seq": _FIRST_SEQ + number, "message": _FIRST_MESSAGE + number}
        own = {**place, "now": number, "event": event_id, "done": False}
        self._waiting.append(own)
        with self._lock:
            if own["done"]:
                return
            batch, self._waiting = self._waiting, []
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("UPDATE revision SET revision = revision + 1")
            for one in batch:
                for statement in _STATEMENTS:
                    self._database.execute(statement, self._shared | one)
                one["done"] = True
            self._database.execute("COMMIT")


def bare_files(directory: Path) -> Callable[[bytes], str]:
    """Return a call that appends an event to a log of its own, with HEAD and a marker, and returns its id."""
    directory.mkdir()
    (directory / "state.json").write_bytes(b"." * 3000)
    fd = os.open(directory, os.O_RDONLY)
    os.close(os.open("marker-0", _NEW, dir_fd=fd))
    numbers = count()

    def append(event: bytes) -> str:
        number = next(numbers)
        event_id = str(uuid4())
        new = os.open("new.tmp", _NEW, dir_fd=fd)
        os.write(new, event)
        os.fsync(new)
        os.close(new)
        os.rename(f"marker-{number}", "marker.tmp", src_dir_fd=fd, dst_dir_fd=fd)
        os.link("new.tmp", f"event-{number}", src_dir_fd=fd, dst_dir_fd=fd)
        os.unlink("new.tmp", dir_fd=fd)
        os.fsync(fd)
        os.rename("marker.tmp", f"marker-{number + 1}", src_dir_fd=fd, dst_dir_fd=fd)
        state = os.open("state.json", os.O_WRONLY, dir_fd=fd)
        os.pwrite(state, event_id.encode(), 0)
        os.close(state)
        return event_id

    return append


def bare_append(directory: Path, index: BareIndex, event: bytes, key: int = 1) -> Callable[[], None]:
    """Return a call that appends one more event to a log of its own, and writes it to an index."""
    append = bare_files(directory)
    return lambda: index.write(key, append(event))
