"""The endpoints that are answered before the other routes are made."""

from __future__ import annotations

from typing import get_type_hints

from fastapi.routing import APIRoute

from app.api.routes import conversations, lists


def test_each_cached_route_is_also_a_route_of_fastapi_with_the_same_parameters() -> None:
    registered = {
        route.path: (route.endpoint.__name__, get_type_hints(route.endpoint).get("query"))
        for route in conversations.router.routes
        if isinstance(route, APIRoute) and route.methods == {"GET"}
    }
    cached = {path: (endpoint.__name__, query) for path, (endpoint, query) in lists.CACHED_ROUTES.items()}
    assert cached.items() <= registered.items()
