"""The application as a whole."""

from __future__ import annotations

from pathlib import Path

import httpx

from app import Settings
from app.files import liveness
from tests.builders import make_conversation, make_id
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"


async def test_a_server_that_only_reads_makes_no_owner(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        await client.get(ONE)
        assert not (root / ".convstore" / "owners").exists()
        await client.patch(ONE, json={"title": "x"})
        [lock] = (root / ".convstore" / "owners").glob("*.lock")
        assert liveness.is_alive(root, lock.stem)
    assert not liveness.is_alive(root, lock.stem)
    assert isinstance(client, httpx.AsyncClient)
