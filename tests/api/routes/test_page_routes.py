"""The page is loaded when a browser asks for it, and its routes answer as others."""

from __future__ import annotations

import httpx
import pytest

from app.api.routes.page_routes import LazyPages


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/c/1", 200), ("/static/nope", 404), ("/ui/nope", 404), ("/uix", 404)]
)
async def test_a_path_of_the_page_is_answered_by_it(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.get(path)).status_code == status
    assert (await client.post("/ui/list")).status_code == 405
    assert (await client.options("/ui/list")).headers["allow"] == "GET, HEAD, OPTIONS"


def test_only_paths_of_the_page_belong_to_it() -> None:
    of_page = [path for path in ("/", "/ui/list", "/uix", "/c/1", "/api/x", "/overview") if _matches(path)]
    assert of_page == ["/", "/ui/list", "/c/1", "/overview"]


def _matches(path: str) -> bool:
    return LazyPages().matches({"type": "http", "path": path})[0].name == "FULL"
