"""The endpoints that are answered before the other routes are made."""

from __future__ import annotations

from fastapi.routing import APIRoute

from app.api.routes import conversations, lists


def test_each_cached_route_is_also_a_route_of_fastapi_with_the_same_endpoint() -> None:
    registered = {
        route.path: route.endpoint
        for route in conversations.router.routes
        if isinstance(route, APIRoute) and route.methods == {"GET"}
    }
    assert {path: endpoint for path, (endpoint, _) in lists.CACHED_ROUTES.items()}.items() <= registered.items()
