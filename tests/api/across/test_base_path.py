"""A server behind a prefix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import Settings
from tests.api.clients import frame, listening, socket
from tests.builders import make_conversation, make_id
from tests.conftest import serving


async def test_every_path_works_with_the_prefix_and_without_it(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root, base_path="/some/where")) as client:
        for path in (
            "/api/conversations/count",
            f"/api/conversations/{make_id(1)}",
            "/ui/list",
            "/docs",
            "/alive",
            "/",
        ):
            plain, prefixed = await client.get(path), await client.get(f"/some/where{path}")
            assert (plain.status_code, prefixed.status_code) == (200, 200), path
            assert plain.content == prefixed.content, path
        assert (await client.get("/some/where")).status_code == 200
        assert (await client.get("/some/wherever/alive")).status_code == 404
        del client.headers["X-Session-API-Key"]
        assert (await client.get("/some/where/api/conversations/count")).status_code == 401


async def test_all_addresses_of_the_page_have_the_prefix(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root, base_path="/some/where")) as client:
        for path in ("/", "/docs", "/ui/list", f"/ui/c/{make_id(1)}", "/ui/overview?days=0", "/ui/trash"):
            html = (await client.get(path)).text
            found = re.findall(r"""(?:href|src|action|url)(?:=|: )['"](/[^'"]*)""", html)
            assert [address for address in found if not address.startswith("/some/where/")] == [], path
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "/some/where"}]


async def test_a_socket_works_behind_the_prefix(root: Path) -> None:
    make_conversation(root)
    async with listening(root, base_path="/some/where") as host, socket(f"{host}/some/where") as connection:
        assert (await frame(connection))["kind"] == "ConversationStateUpdateEvent"


@pytest.mark.parametrize("base_path", ["convstore", "/convstore/", "//a", "/a b", '/"', "/a?b"])
def test_what_is_no_prefix_is_refused(root: Path, base_path: str) -> None:
    with pytest.raises(ValueError, match="base_path"):
        Settings(store=root, base_path=base_path)
