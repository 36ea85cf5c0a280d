"""Whether an owner lives: as long as one of its processes does."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

import pytest

from app.errors import HostSilent, StoreUnavailable, WriteFailed
from app.files import durable, layout, liveness
from app.files.log import event_log
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


class Known(NamedTuple):
    boot: str
    alive: bool


class KnownHosts:
    """What an index says of hosts."""

    def __init__(self, **known: Known) -> None:
        self.known = known
        self.silent = False

    def find(self, instance: str) -> Known | None:
        return self.known.get(instance)

    def require_alive(self) -> None:
        if self.silent:
            raise HostSilent("silent")


def test_a_shared_index_says_which_owners_of_other_hosts_live(root: Path) -> None:
    hosts = KnownHosts(living=Known("there", alive=True), dead=Known("there", alive=False))
    with liveness.share(root, hosts, "here"):
        here = liveness.boot_of(root)
        assert here != liveness.boot_id()
        hosts.known |= {"ended": Known(here, alive=True), ME: Known(here, alive=True)}
        with liveness.stay_alive(root, ME):
            assert [liveness.is_alive(root, one) for one in ("living", "dead", "ended", ME, "unknown")] == [
                True, False, False, True, False,
            ]  # fmt: skip
    assert not liveness.is_shared(root)
    assert not liveness.is_alive(root, "living")


def test_a_silent_host_replaces_overwrites_and_appends_no_file(root: Path) -> None:
    hosts = KnownHosts()
    (root / "kept").write_bytes(b"old")
    with liveness.share(root, hosts, None), layout.open_directory(root) as fd, liveness.writing(root):
        hosts.silent = True
        with pytest.raises(HostSilent):
            durable.replace(fd, "kept", b"new")
        with pytest.raises(HostSilent):
            durable.overwrite(fd, "kept", 0, b"new", lambda _: True)
        with pytest.raises(HostSilent):
            event_log.append(fd, event_log.LogNames([]), [("an-event", b"{}")])
        with pytest.raises(HostSilent), liveness.writing(root):
            pass
    assert [path.name for path in root.iterdir() if path.is_file()] == ["kept"]
    assert (root / "kept").read_bytes() == b"old"


def test_a_host_that_falls_silent_does_not_remove_an_event_with_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = KnownHosts()

    def fall_silent(_: int) -> None:
        hosts.silent = True
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(durable, "sync_directory", fall_silent)
    with (
        liveness.share(root, hosts, None),
        layout.open_directory(root) as fd,
        liveness.writing(root),
        pytest.raises(WriteFailed),
    ):
        event_log.append(fd, event_log.LogNames([]), [("an-event", b"{}")])
    assert [path.name for path in root.glob("event-*")] == ["event-00000-an-event.json"]
