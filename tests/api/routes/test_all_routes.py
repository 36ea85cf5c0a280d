"""All routes of the REST API, in their order."""

from __future__ import annotations

from pathlib import Path

from fastapi.routing import APIRoute

from app import Settings
from app.api.app import create_app


def test_routes_for_many_conversations_come_before_those_for_one(tmp_path: Path) -> None:
    paths = [
        one.path
        for one in create_app(Settings(store=tmp_path), keys=[]).routes
        if isinstance(one, APIRoute) and one.methods == {"POST"}
    ]
    assert paths.index("/api/conversations/bulk/restore") < paths.index("/api/conversations/{conversation_id}/restore")
