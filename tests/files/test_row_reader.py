"""Reading many conversations: what is opened, and what may not be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.files.fingerprint import FAILED, UNTRUSTED
from app.files.layout import ConversationDir
from app.files.metadata_reader import Reader
from app.files.row_reader import find_present, read_changes, read_rows, read_signatures
from app.model.event import KnownLog
from app.model.ids import ConversationId, EventName
from tests.builders import make_conversation, make_event, make_id, names_in, opened_files, write_event
from tests.store.follow.test_odd_files_in_a_sync import refuse

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))


def test_what_the_operating_system_refuses_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, make_conversation(tmp_path) / "meta.json")
    [row], _ = read_rows(Reader(tmp_path, None), [ConversationDir(ONE, ONE)])
    assert (row.signature, row.row.unreadable) == (FAILED, "meta.json: cannot be opened (Input/output error)")


def test_a_row_is_read_from_its_files_and_two_events(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=20)
    first, *_, last = sorted(names_in(path / "events"))
    with opened_files() as opened:
        read_rows(Reader(tmp_path, None), [ConversationDir(ONE, ONE)])
    assert opened == [str(path), "meta.json", "base_state.json", "events", "convstore.json", "events", last, first]


def test_a_log_is_read_once(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=20)
    names = sorted(names_in(path / "events"))
    with opened_files() as opened:
        read_changes(Reader(tmp_path, None), [KnownLog(1, ONE, {})])
    assert opened == [str(path), "events", str(path), "events", *names]


def test_of_a_known_log_new_files_and_the_last_one_are_read(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=2)
    gone, first, last = (EventName(seq, make_event(seq)["id"]) for seq in (2, 0, 1))
    new = EventName(5, make_event(5)["id"])
    write_event(path, 5)
    [change] = read_changes(Reader(tmp_path, None), [KnownLog(1, ONE, {first: None, last: None, gone: None})])
    assert [(row.name.seq, row.unreadable) for row in change.write] == [
        (5, None), (2, "events 2 to 4 are missing: no file has this number"),
    ]  # fmt: skip
    assert (change.key, change.delete, change.failed, change.write[0].name) == (1, [gone], False, new)


def test_what_is_not_there_is_gone_and_has_a_signature(tmp_path: Path) -> None:
    make_conversation(tmp_path)
    reader, named = Reader(tmp_path, None), [ConversationDir(ONE, ONE), ConversationDir(TWO, TWO)]
    assert [row.row.uuid for row in read_rows(reader, named)[0]] == [ONE]
    assert read_rows(reader, named)[1] == [ConversationDir(TWO, TWO)]
    assert find_present(tmp_path, [ONE, TWO]) == {ONE}
    assert UNTRUSTED not in read_signatures(reader, named).values()
