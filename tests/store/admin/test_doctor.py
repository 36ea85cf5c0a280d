"""The doctor finds what is wrong with a store, says what to do, and makes and mends nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import Settings
from app.store.admin.doctor import examine_store
from app.store.admin.findings import Finding, Level
from tests.builders import details_in, index_path, make_conversation, make_id
from tests.conftest import StoreOpener


async def examined(root: Path) -> list[Finding]:
    """Return what is no `ok`, apart from what only this machine decides."""
    found = [one async for one in examine_store(Settings(store=root), "1.0.0", sample=10)]
    return [one for one in found if one.level is not Level.OK and one.check not in {"disk", "permissions", "versions"}]


async def test_of_a_sound_store_it_finds_nothing(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root):
        pass
    assert [one for one in await examined(root) if one.level is Level.PROBLEM] == []


def tear_meta(root: Path) -> None:
    (root / make_id(1) / "meta.json").write_text("{")


def damage_index(root: Path) -> None:
    index_path(root).write_bytes(b"no database" * 1000)


def lose_index(root: Path) -> None:
    index_path(root).unlink()


@pytest.mark.parametrize(
    ("damage", "level", "advice"),
    [
        (tear_meta, Level.PROBLEM, "convstore"),
        (damage_index, Level.PROBLEM, "rebuild"),
        (lose_index, Level.NOTE, "creates it"),
    ],
)
async def test_it_tells_what_is_wrong_and_touches_nothing(
    root: Path, open_store: StoreOpener, damage: Callable[[Path], None], level: Level, advice: str
) -> None:
    make_conversation(root)
    async with open_store(root):
        pass
    damage(root)
    before = details_in(root / make_id(1)), index_path(root).exists() and index_path(root).read_bytes()
    found = await examined(root)
    assert any(one.level is level and advice in one.advice for one in found), found
    assert (details_in(root / make_id(1)), index_path(root).exists() and index_path(root).read_bytes()) == before
