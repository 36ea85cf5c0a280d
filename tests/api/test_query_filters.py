"""Ids and times, as clients spell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import Settings
from app.model.ids import dashed
from tests.builders import make_conversation, make_id
from tests.conftest import serving

COUNT = "/api/conversations/count"


@pytest.mark.parametrize("time", ["2026-10-01T09:30+02:00", "2026-10-01T09:30:00.5+0200", "2026-10-01 07:30"])
async def test_a_zone_may_be_typed_as_it_is(root: Path, time: str) -> None:
    for number in range(1, 10):
        make_conversation(root, number, meta={"created_at": f"2026-10-01T{number:02d}:00:00Z"})
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"{COUNT}?created_at__gte={time}")  # the plus not escaped, so a space to a server
        assert (answer.status_code, answer.text) == (200, "2")
        one = f"/api/conversations/{make_id(1)}/events/count"
        assert (await client.get(f"{one}?timestamp__gte={time}")).status_code == 200


@pytest.mark.parametrize("spell", [str, dashed, str.upper])
async def test_an_id_is_read_with_and_without_dashes(root: Path, spell: Any) -> None:
    make_conversation(root, 2748)
    async with serving(Settings(store=root)) as client:
        info = (await client.get(f"/api/conversations/{spell(make_id(2748))}")).json()
    assert info["id"] == dashed(make_id(2748))
