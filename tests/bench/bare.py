"""The system calls and the SQL of an append and nothing around them: what no writer with these promises can avoid."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from uuid import uuid4

from app.index.sqlite.write_connection import on_connect
from app.model.text.tokenizer import split

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_STATEMENTS = (
    "UPDATE revision SET revision = revision + 1",
    "UPDATE conversation SET updated_at = :now, last_event_at = :now, event_count = :seq, revision = :seq WHERE id = 1",
    "UPDATE conversation_info SET body = :body WHERE conversation = 1",
    "INSERT INTO message (id, conversation, seq, event_id, text) VALUES (:message, 1, :seq, :event, :text)",
    "INSERT INTO message_fts (rowid, text) VALUES (:message, :words)",
    "INSERT INTO event (conversation, seq, event_id, kind, source) VALUES (1, :seq, :event, 'MessageEvent', 'user')",
)
_FIRST_SEQ = 1_000_000
_FIRST_MESSAGE = 1 << 45
"""Higher than those that the index has."""


def bare_append(directory: Path, index: Path, event: bytes, text: str) -> Callable[[], None]:
    """Return a call that appends one more event to a log of its own, with HEAD and a marker, and writes it to an index.

    `index` is a copy that holds at least one conversation; nothing may have it open.
    """
    directory.mkdir()
    (directory / "state.json").write_bytes(b"." * 3000)
    database = sqlite3.connect(index)
    on_connect(database, None)
    with closing(database.execute("SELECT body FROM conversation_info WHERE conversation = 1")) as found:
        [body] = found.fetchone()
    fd = os.open(directory, os.O_RDONLY)
    os.close(os.open("marker-0", _NEW, dir_fd=fd))
    words = split(text)
    numbers = count()

    def append() -> None:
        number = next(numbers)
        event_id = str(uuid4())
        _sync(os.open("new.tmp", _NEW, dir_fd=fd), event)
        os.rename(f"marker-{number}", "marker.tmp", src_dir_fd=fd, dst_dir_fd=fd)
        os.link("new.tmp", f"event-{number}", src_dir_fd=fd, dst_dir_fd=fd)
        os.unlink("new.tmp", dir_fd=fd)
        os.fsync(fd)
        os.rename("marker.tmp", f"marker-{number + 1}", src_dir_fd=fd, dst_dir_fd=fd)
        _sync(os.open("state.json", os.O_WRONLY, dir_fd=fd), event_id.encode())
        values = {"now": number, "seq": _FIRST_SEQ + number, "message": _FIRST_MESSAGE + number, "event": event_id}
        database.execute("BEGIN IMMEDIATE")
        for statement in _STATEMENTS:
            database.execute(statement, values | {"text": text, "words": words, "body": body})
        database.execute("COMMIT")

    return append


def _sync(descriptor: int, data: bytes) -> None:
    os.pwrite(descriptor, data, 0)
    os.fsync(descriptor)
    os.close(descriptor)
