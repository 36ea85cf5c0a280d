"""The OpenAPI document, made true: which requests need the key, and what every error looks like."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api import auth, docs
from app.api.parameters import ErrorBody

_FASTAPI_ERROR = "HTTPValidationError"
_ERROR = {
    "description": "Any error: 400 a bad token, 401 no key, 403 a foreign origin, 404 unknown, 409 owned by another "
    "or not as expected, 410 gone, 422 a bad parameter, 503 the index or the directory cannot be used now",
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}},
}


def install(app: FastAPI) -> None:
    """Have `app` describe itself so."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": auth.HEADER}}
    document["security"] = [{"key": []}]
    schemas = components.setdefault("schemas", {})
    for unused in (_FASTAPI_ERROR, "ValidationError"):
        schemas.pop(unused, None)
    schemas[ErrorBody.__name__] = ErrorBody.model_json_schema()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in auth.OPEN_PATHS and path not in docs.OPEN_PATHS:
                operation["security"] = []
            if _FASTAPI_ERROR in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            operation["responses"]["default"] = _ERROR
