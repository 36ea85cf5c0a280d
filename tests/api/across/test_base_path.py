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


async def test_a_redirect_keeps_the_prefix(root: Path) -> None:
    async with serving(Settings(store=root, base_path="/some/where")) as client:
        answer = await client.get("/some/where/api/conversations/count/?status=error")
        assert (answer.status_code, answer.headers["location"]) == (
            307,
            "http://localhost/some/where/api/conversations/count?status=error",
        )


async def test_a_trusted_proxy_names_the_prefix_that_it_removed(root: Path) -> None:
    make_conversation(root)
    forwarded = {"X-Forwarded-Prefix": "/some/where/", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
    settings = {"store": root, "trusted_proxies": "127.0.0.1", "allowed_hosts": "a.example"}
    async with serving(Settings.model_validate(settings)) as client:
        for path in ("/", "/docs", "/ui/list", f"/ui/c/{make_id(1)}"):
            html = (await client.get(path, headers=forwarded)).text
            found = re.findall(r"""(?:href|src|action|url)(?:=|: )['"](/[^'"]*)""", html)
            assert [address for address in found if not address.startswith("/some/where/")] == [], path
            assert "/some/where" not in (await client.get(path)).text
        document = (await client.get("/openapi.json", headers=forwarded)).json()
        assert document["servers"] == [{"url": "/some/where"}]
        assert "servers" not in (await client.get("/openapi.json")).json()
        moved = await client.get("/api/conversations/count/", headers=forwarded)
        assert moved.headers["location"] == "https://a.example/some/where/api/conversations/count"


async def test_the_prefix_of_another_peer_or_no_prefix_is_ignored(root: Path) -> None:
    for trusted, prefix in (("10.0.0.1", "/some/where"), ("127.0.0.1", '/"><script>'), ("127.0.0.1", "//evil")):
        async with serving(Settings.model_validate({"store": root, "trusted_proxies": trusted})) as client:
            html = (await client.get("/", headers={"X-Forwarded-Prefix": prefix})).text
            assert html == (await client.get("/")).text


async def test_a_socket_works_behind_the_prefix(root: Path) -> None:
    make_conversation(root)
    async with listening(root, base_path="/some/where") as host, socket(f"{host}/some/where") as connection:
        assert (await frame(connection))["kind"] == "ConversationStateUpdateEvent"


@pytest.mark.parametrize("base_path", ["convstore", "/convstore/", "//a", "/a b", '/"', "/a?b"])
def test_what_is_no_prefix_is_refused(root: Path, base_path: str) -> None:
    with pytest.raises(ValueError, match="base_path"):
        Settings(store=root, base_path=base_path)
