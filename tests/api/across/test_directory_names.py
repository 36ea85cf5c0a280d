"""A conversation whose directory is spelled otherwise than plainly: what the list shows is what is acted on."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from app import Settings
from app.files import trash
from tests.builders import NEW_CONVERSATION, make_conversation
from tests.conftest import serving

ONE = uuid.UUID("abababab-abab-4bab-8bab-abababababab")
URL = f"/api/conversations/{ONE}"
SPELLINGS = [str(ONE), str(ONE).upper(), ONE.hex.upper(), ONE.hex.capitalize()]


def conversation_of(root: Path, spelling: str) -> Path:
    make_conversation(root)
    return make_conversation(root, directory=spelling, meta={"id": ONE.hex}, state={"id": str(ONE)})


def ghost_of(root: Path) -> Path:
    """Leave what agent-server leaves of a conversation that was deleted under it."""
    path = root / ONE.hex
    (path / "events").mkdir(parents=True)
    (path / ".owner_lease.lock").touch()
    return path


def directories(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name.lower().startswith("abab"))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("haunted", [False, True])
async def test_what_is_deleted_is_what_is_listed(root: Path, spelling: str, haunted: bool) -> None:
    conversation_of(root, spelling)
    ghosts = [ghost_of(root).name] if haunted else []
    async with serving(Settings(store=root)) as client:
        for request in ({"dry_run": True}, {}):
            asked = {"ids": [str(ONE)], **request}
            [item] = (await client.post("/api/conversations/bulk/delete", json=asked)).json()["items"]
            assert item["error"] is None
        assert (await client.get("/api/conversations/count")).json() == 1
        assert directories(root) == ghosts
        assert [one.directory for one in trash.list_trash(root)] == [spelling]
        assert (await client.post(f"{URL}/restore")).status_code == 200
        assert directories(root) == [spelling]
        assert (await client.delete(URL)).status_code == 200
        assert directories(root) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("haunted", [False, True])
async def test_what_is_listed_is_not_created_a_second_time(root: Path, spelling: str, haunted: bool) -> None:
    path = conversation_of(root, spelling)
    meta = json.loads((path / "meta.json").read_bytes())
    (path / "meta.json").write_text(json.dumps(meta | {"workspace": NEW_CONVERSATION["workspace"]}))
    if haunted:
        ghost_of(root)
    async with serving(Settings(store=root)) as client:
        before = directories(root)
        made = await client.post("/api/conversations", json=NEW_CONVERSATION | {"conversation_id": str(ONE)})
        assert (made.status_code, made.json()["title"]) == (200, "A title")
        one = (await client.get("/api/conversations/search")).json()["items"][0]["id"]
        assert (await client.post(f"/api/conversations/{one}/fork", json={"id": str(ONE)})).status_code == 409
        child = await client.post("/api/conversations", json=NEW_CONVERSATION | {"parent_conversation_id": str(ONE)})
        assert child.status_code == 201
        assert directories(root) == before


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_one_that_cannot_be_read_is_archived_where_it_stands(root: Path, spelling: str) -> None:
    path = conversation_of(root, spelling)
    ghost_of(root)
    (path / "base_state.json").write_text("{")
    async with serving(Settings(store=root)) as client:
        assert (await client.patch(URL, json={"archived": True})).status_code == 200
        assert (await client.get(URL)).json()["archived"] is True
    assert (path / "convstore.json").exists()
