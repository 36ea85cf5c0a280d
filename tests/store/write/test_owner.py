"""An owner shows that it lives, and takes another name after other hosts counted it as dead."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from app.files import liveness
from app.index.engine import Index
from app.index.hosts import FoundHost, Heard
from app.model.ids import ConversationId
from app.settings import Settings
from app.store.context import StoreContext, make_reader
from app.store.other_hosts import OtherHosts
from app.store.read.freshness import Freshness
from app.store.write.owner import Owner, OwnerAmongHosts


class Refusing:
    """An index that counts some hosts as dead."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.joined: list[str] = []
        self.heard: list[Heard] = []

    @property
    def dead(self) -> bool:
        return bool(self.joined) and self.joined[-1] in self.refused

    def join(self, instance: str, boot: str) -> bool:
        assert boot == liveness.boot_id()
        if instance not in self.refused:
            self.joined.append(instance)
        return instance not in self.refused

    def find(self, instance: str) -> FoundHost | None:
        raise NotImplementedError

    def require_alive(self) -> None:
        raise NotImplementedError

    def send(self, message: str) -> None:
        raise NotImplementedError

    def listen(self, heard: Heard) -> None:
        self.heard.append(heard)


def context_of(root: Path) -> StoreContext:
    return StoreContext(cast(Index, None), make_reader(Settings(store=root)))


async def test_an_owner_of_one_machine_holds_its_lock_until_it_is_closed(tmp_path: Path) -> None:
    owner = Owner(context_of(tmp_path), "one")
    await owner.join()
    assert liveness.is_alive(tmp_path, "one")
    owner.close()
    assert not liveness.is_alive(tmp_path, "one")
    assert not owner.dead


async def test_an_owner_that_is_dead_hears_under_its_next_name(tmp_path: Path) -> None:
    hosts, wanted = Refusing("one"), list[str]()
    owner = OwnerAmongHosts(context_of(tmp_path), "one", OtherHosts(hosts, lambda _: None), cast(Freshness, None))
    owner.hear(wanted.append)
    await owner.join()
    assert (owner.instance, hosts.joined) == ("one.again-1", ["one.again-1"])
    hosts.refused = ("one", "one.again-1", "one.again-2")
    assert owner.dead
    await owner.join()
    assert owner.instance == "one.again-3"
    one = ConversationId("1" * 32)
    for owned_by in ("one.again-1", "one.again-3"):
        hosts.heard[-1](f'["want", "{one}", "{owned_by}"]')
    assert wanted == [one]
    owner.close()
    assert not liveness.is_alive(tmp_path, "one.again-3")
