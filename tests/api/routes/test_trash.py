"""The trash: what was deleted is listed there, and comes back."""

from __future__ import annotations

from pathlib import Path

from app import Settings
from tests.builders import make_conversation, make_id
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"


async def test_deleting_and_restoring(root: Path) -> None:
    make_conversation(root)
    make_conversation(root, 2, meta={"parent_conversation_id": make_id(1)})
    async with serving(Settings(store=root)) as client:
        await client.patch(ONE, json={"title": "Kept"})  # open for writing, and deleted all the same
        before = (await client.get(ONE)).json()
        assert (await client.delete(ONE)).json()["success"] is True
        assert (await client.get(ONE)).status_code == 404
        assert (await client.delete(ONE)).status_code == 404
        assert (await client.patch(ONE, json={"title": "x"})).status_code == 404
        child = (await client.get(f"/api/conversations/{make_id(2)}")).json()
        assert child["parent_conversation_id"] == before["id"]
        trash = (await client.get("/api/trash")).json()
        assert (trash["total"], trash["items"][0]["id"], trash["items"][0]["title"]) == (1, before["id"], "Kept")
        assert (await client.post(f"{ONE}/restore")).json() == before
        assert (await client.post(f"{ONE}/restore")).status_code == 404
        assert (await client.delete(f"{ONE}?permanent=true")).status_code == 200
        assert (await client.get("/api/trash")).json()["total"] == 0
    assert not (root / make_id(1)).exists()


async def test_a_deleted_conversation_is_removed_for_good(root: Path) -> None:
    make_conversation(root)
    make_conversation(root, 2)
    async with serving(Settings(store=root)) as client:
        for number in (1, 2):
            await client.delete(f"/api/conversations/{make_id(number)}")
        removed = f"/api/trash/{make_id(1)}"
        assert (await client.delete(removed)).status_code == 204
        assert [one["id"].replace("-", "") for one in (await client.get("/api/trash")).json()["items"]] == [make_id(2)]
        again = await client.delete(removed)
        assert (again.status_code, again.json()["code"]) == (404, "not_in_trash")
        assert (await client.post(f"{ONE}/restore")).status_code == 404
