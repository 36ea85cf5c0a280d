"""Fingerprints: every change of a conversation's files differs, and what changed just now is not trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from struct import pack

import pytest

from app.files import fingerprint
from app.files.fingerprint import UNTRUSTED, Fingerprint, find_root_fingerprint
from app.files.layout import EVENTS, META, SIDECAR, STATE
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_id, write_event

ONE, TWO, THREE = (ConversationId(make_id(number)) for number in (1, 2, 3))


def replace(path: Path, content: bytes) -> None:
    """Put another file of the same times in the place of `path`."""
    before = path.stat()
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.replace(path)


def rewrite_in_place(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "meta written": lambda path: (path / META).write_text("{}"),
    "state written": lambda path: (path / STATE).write_text("{}"),
    "meta replaced by one of its size and time": lambda path: replace(path / META, (path / META).read_bytes()),
    "state replaced by one of its size and time": lambda path: replace(path / STATE, (path / STATE).read_bytes()),
    "state written in place in its size and time": lambda path: rewrite_in_place(path / STATE),
    "meta gone": lambda path: (path / META).unlink(),
    "state gone": lambda path: (path / STATE).unlink(),
    "an event more": lambda path: write_event(path, 2),
    "an event less": lambda path: write_event(path, 1).unlink(),
    "an event renamed": lambda path: write_event(path, 1).rename(path / EVENTS / "away"),
    "events gone": lambda path: (path / EVENTS).rename(path / "away"),
    "times set back": lambda path: os.utime(path / STATE, ns=(0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_signature_differs_after_a_change(tmp_path: Path, change: str) -> None:
    path = make_conversation(tmp_path)
    before = fingerprint.signature(tmp_path, ONE)
    assert fingerprint.signature(tmp_path, ONE) == before != UNTRUSTED
    CHANGES[change](path)
    assert fingerprint.signature(tmp_path, ONE) != before


def test_a_signature_is_the_same_after_reading_and_beside_other_files(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    before = fingerprint.signature(tmp_path, ONE)
    (path / META).read_bytes()
    (path / "owner_lease.json").write_text("{}")
    (path / "observations").mkdir()
    assert fingerprint.signature(tmp_path, ONE) == before


def test_a_missing_directory_has_a_signature_of_its_own(tmp_path: Path) -> None:
    make_conversation(tmp_path)
    signatures = {fingerprint.signature(tmp_path, name) for name in (ONE, TWO, THREE)}
    assert len(signatures - {UNTRUSTED}) == 3


@pytest.mark.parametrize(
    ("later_s", "trusted"), [(0, False), (1.9, False), (2.1, True), (3600, True), (-1.9, False), (-3600, True)]
)
def test_what_changed_within_two_seconds_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later_s: float, trusted: bool
) -> None:
    path = make_conversation(tmp_path)
    changed_ns = max((path / name).stat().st_ctime_ns for name in (META, STATE, EVENTS))
    monkeypatch.setattr(fingerprint, "time_ns", lambda: changed_ns + int(later_s * 1e9))
    assert (fingerprint.signature(tmp_path, ONE) != UNTRUSTED) is trusted


def test_a_time_in_the_future_hides_no_change_of_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = make_conversation(tmp_path) / META
    os.utime(meta, (4e9, 4e9))
    monkeypatch.setattr(fingerprint, "time_ns", lambda: meta.stat().st_ctime_ns + 1_000_000_000)
    assert fingerprint.signature(tmp_path, ONE) == UNTRUSTED


def test_a_signature_is_made_as_every_index_holds_it(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    os.utime(path / META, ns=(0, -1_000_000_000))
    packed = b""
    for name in (META, STATE, SIDECAR, EVENTS):
        facts = [2**64 - 1] * 4
        if (path / name).exists():
            status = (path / name).stat()
            facts = [status.st_size, status.st_mtime_ns % 2**64, status.st_ctime_ns, status.st_ino]
        packed += pack("<4Q", *facts)
    assert fingerprint.signature(tmp_path, ONE) == blake2b(packed + ONE.encode(), digest_size=16).digest()


def test_a_root_is_trusted_two_seconds_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_ns = tmp_path.stat().st_ctime_ns
    monkeypatch.setattr(fingerprint, "time_ns", lambda: changed_ns + 1_900_000_000)
    assert find_root_fingerprint(tmp_path) is None
    monkeypatch.setattr(fingerprint, "time_ns", lambda: changed_ns + 60_000_000_000)
    before = find_root_fingerprint(tmp_path)
    assert isinstance(before, Fingerprint)
    make_conversation(tmp_path)
    assert find_root_fingerprint(tmp_path) not in (None, before)


def test_a_new_event_changes_a_directory_and_a_write_in_place_does_not(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    before_ns = fingerprint.changed_ns(tmp_path, ONE)
    (path / META).write_text("{}")
    assert fingerprint.changed_ns(tmp_path, ONE) == before_ns > 0
    os.utime(path / EVENTS, ns=(before_ns + 5, before_ns + 5))
    assert fingerprint.changed_ns(tmp_path, ONE) > before_ns
    assert fingerprint.changed_ns(tmp_path, TWO) == 0
