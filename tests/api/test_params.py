"""Parameters that several routes share: ids in paths, and the store."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from app import Settings
from app.api import routes as packages
from app.api.params import get_writable_store
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import serving


@pytest.mark.parametrize("around", ["%0a", "%20"])
async def test_only_an_exact_id_names_a_conversation_to_change(root: Path, around: str) -> None:
    directory = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for route in writing_routes():
            if "{conversation_id}" in route.path:
                for method in route.methods or ():
                    path = route.path.format(conversation_id=f"{make_id(1)}{around}", event_id=make_event(0)["id"])
                    answer = await client.request(method, path)
                    assert (answer.status_code, "is not a conversation id" in answer.text) == (422, True), route.path
    assert directory.is_dir()


def api_routes() -> list[APIRoute]:
    modules = [importlib.import_module(f"app.api.routes.{one.name}") for one in pkgutil.iter_modules(packages.__path__)]
    routers = [value for module in modules for value in vars(module).values() if isinstance(value, APIRouter)]
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def writing_routes() -> list[APIRoute]:
    """The routes that have the store's write methods."""

    def calls(dependant: Any) -> set[Any]:
        return {dependant.call}.union(*(calls(inner) for inner in dependant.dependencies))

    return [route for route in api_routes() if get_writable_store in calls(route.dependant)]


def test_no_get_reaches_a_writer() -> None:
    writing = writing_routes()
    assert len(writing) > 10
    assert [route.path for route in writing if (route.methods or set()) & {"GET", "HEAD"}] == []
    assert len([route for route in api_routes() if "GET" in (route.methods or set())]) > 10
