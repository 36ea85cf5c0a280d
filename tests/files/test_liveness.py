"""Whether an owner lives: as long as one of its processes does."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.files import liveness
from tests.builders import second_process

ME, OTHER = "convstore-me", "convstore-other"

_LIVE = """
import sys
from pathlib import Path
from app.files import liveness
with liveness.stay_alive(Path(sys.argv[1]), sys.argv[2]):
    print("lives", flush=True)
    sys.stdin.readline()
"""


def test_a_stopped_owner_lives_and_a_killed_one_does_not(root: Path) -> None:
    with second_process(_LIVE, root, OTHER) as other:
        other.hear()
        other.signal("STOP")
        assert liveness.is_alive(root, OTHER)
        other.signal("CONT")
        other.kill()
        assert not liveness.is_alive(root, OTHER)


def test_two_workers_are_one_owner_that_lives_until_the_last_ends(root: Path) -> None:
    with liveness.stay_alive(root, ME):
        with liveness.stay_alive(root, ME):
            pass
        assert liveness.is_alive(root, ME)
    assert not liveness.is_alive(root, ME)


def test_the_lock_files_of_the_dead_are_removed(root: Path) -> None:
    with liveness.stay_alive(root, OTHER):
        pass
    with liveness.stay_alive(root, ME):
        assert [path.name for path in (root / ".convstore" / "owners").glob("*.lock")] == [f"{ME}.lock"]


@pytest.mark.parametrize("instance", ["../elsewhere", "a\0b", "never-was"])
def test_a_name_that_no_owner_has_is_not_alive(root: Path, instance: str) -> None:
    assert not liveness.is_alive(root, instance)


def test_an_instance_has_a_name_of_its_own() -> None:
    one, other = liveness.make_instance_id("server" * 20), liveness.make_instance_id("server" * 20)
    assert one != other
    assert len(one) == len(other) < 60


def test_a_directory_for_owners_that_cannot_be_made_is_told(root: Path) -> None:
    (root / ".convstore" / "owners").write_text("")
    with (
        pytest.raises(StoreUnavailable, match="make it writable, or use the store only for reading"),
        liveness.stay_alive(root, ME),
    ):
        pass
