"""Hints of the operating system that something changed in a conversation's directory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.store.follow import change_hints
from app.store.follow.change_hints import ChangeHints, find_room
from tests.builders import make_conversation, make_event, make_id, write_event

ONE, TWO = make_id(1), make_id(2)


def taken(hints: ChangeHints) -> list[str]:
    time.sleep(0.2)  # a hint comes after about 40 ms
    return sorted(hints.take())


def test_a_change_in_a_watched_directory_is_told_once(root: Path) -> None:
    one, two = make_conversation(root, 1), make_conversation(root, 2)
    hints = ChangeHints(root)
    assert hints.take() == []
    hints.watch([ONE])
    write_event(one, 2, make_event(2))
    write_event(two, 2, make_event(2))
    assert (taken(hints), taken(hints)) == ([ONE], [])
    hints.watch([ONE, TWO])
    (two / ".meta.tmp").write_text("{}")
    (two / ".meta.tmp").replace(two / "meta.json")
    assert (taken(hints), hints.watched) == ([TWO], 2)
    hints.close()
    assert hints.take() == []


def test_reading_gives_no_hint(root: Path) -> None:
    one = make_conversation(root, 1)
    hints = ChangeHints(root)
    hints.watch([ONE])
    assert (one / "meta.json").read_bytes()
    assert list((one / "events").iterdir())
    assert taken(hints) == []
    hints.close()


def test_half_of_the_systems_watches_are_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("1000\n")
    monkeypatch.setattr(change_hints, "_LIMIT", limit)
    assert find_room() == 250
    limit.unlink()
    assert find_room() == 0


def test_where_the_system_refuses_fewer_are_watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 5):
        make_conversation(root, number)

    class Refusing:
        def __init__(self, paths: list[str], *_: object) -> None:
            if len(paths) > 4:
                raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", Refusing)
    hints = ChangeHints(root)
    hints.watch([make_id(number) for number in range(1, 5)])
    assert hints.watched == 2
