"""What a conversations directory has beside conversations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.files.census import Foreign, describe, find_nested, has_conversation, is_conversation, take_census
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_foreign, make_id, opened_files

TWIN = dashed(ConversationId(make_id(1)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One of each kind, two of some; names that begin with a dot do not count."""
    root = tmp_path / "store"
    make_conversation(root, 1)
    make_conversation(root, 1, directory=TWIN, events=0)
    make_foreign(root / make_id(2), "older OpenHands")
    make_foreign(root / "session-3", "older OpenHands")
    make_foreign(root / make_id(4), "a link")
    make_foreign(root / "link-5", "a link to nothing")
    (root / make_id(6) / "events").mkdir(parents=True)
    (root / make_id(6) / ".owner_lease.lock").touch()
    (root / make_id(7)).mkdir()
    make_foreign(root / make_id(8), "own files")
    make_foreign(root / make_id(9), "a file")
    make_foreign(root / "photos", "own directory")
    for name in (".trash", ".convstore", ".new-1"):
        (root / name).mkdir()
    (root / ".DS_Store").touch()
    return root


def test_each_kind_of_entry_is_named(store: Path) -> None:
    assert take_census(store) == {
        Foreign.V0: [make_id(2), "session-3"],
        Foreign.LINK: [make_id(4), "link-5"],
        Foreign.TWIN: [TWIN],
        Foreign.LOCKS: [make_id(6), make_id(7)],
        Foreign.OTHER: [make_id(8), make_id(9), "photos"],
    }


def test_what_a_sync_has_looked_at_is_not_opened_again(store: Path) -> None:
    shutil.rmtree(store / TWIN)  # two directories of one id are compared
    whole = take_census(store)
    empty = [make_id(number) for number in (2, 6, 7, 8)]
    with opened_files() as opened:
        assert take_census(store, empty) == whole
    assert not [name for name in opened if make_id(1) in name]


def test_a_kind_is_described_by_number_and_first_names(store: Path) -> None:
    for number in range(4):
        (store / f"z{number}").touch()
    assert describe(take_census(store)) == {
        Foreign.V0: f"2 directories have history of OpenHands V0: {make_id(2)}, session-3",
        Foreign.LINK: f"2 symbolic links are not followed: {make_id(4)}, link-5",
        Foreign.TWIN: f"1 directory has the id of another directory: {TWIN}",
        Foreign.LOCKS: f"2 directories are empty or have only lock files: {make_id(6)}, {make_id(7)}",
        Foreign.OTHER: f"7 other entries are not conversations: {make_id(8)}, {make_id(9)}, photos and 4 more",
    }
    assert describe({kind: [] for kind in Foreign}) == {}


def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        take_census(tmp_path / "nowhere")


def test_a_conversation_is_told_from_a_directory_of_conversations(store: Path, tmp_path: Path) -> None:
    assert (has_conversation(store), is_conversation(store)) == (True, False)
    assert (has_conversation(store / make_id(1)), is_conversation(store / make_id(1))) == (False, True)
    (store / "meta.json").touch()
    assert is_conversation(store) is False
    assert (has_conversation(tmp_path / "nowhere"), is_conversation(tmp_path / "nowhere")) == (False, False)
    make_foreign(tmp_path / "v0" / make_id(2), "older OpenHands")
    assert (has_conversation(tmp_path / "v0"), is_conversation(tmp_path / "v0")) == (False, False)


@pytest.mark.parametrize("name", ["conversations", "workspace/conversations", "agent-canvas/conversations"])
def test_conversations_further_below_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "conversations").mkdir()
    assert find_nested(tmp_path) is None
    make_conversation(tmp_path / name)
    assert find_nested(tmp_path) == tmp_path / name
