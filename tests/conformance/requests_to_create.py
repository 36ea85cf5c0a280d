"""Requests to create a conversation: one for each value that a schema allows, and many that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]

REQUEST: dict[str, Any] = {
    "agent": {"kind": "Agent", "llm": {"model": "a/model"}, "tools": []},
    "workspace": {"working_dir": "/home/dev/project"},
}
_WRONG: list[Any] = [
    None,
    "x",
    5,
    -1,
    0,
    1.5,
    True,
    [],
    {},
    [1],
    {"a": 1},
    "",
    ["a"],
    {"kind": "Other"},
    {"a": "b"},
    "3",
]
_NOT_MUTATED = frozenset({"conversation_id", "parent_conversation_id", "agent_settings", "agent_profile_id"})


class Requests:
    """The requests that follow from the JSON schema of one."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._defs: dict[str, Schema] = schema["$defs"]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield REQUEST
        yield from self._of_object(self._schema, (), REQUEST, ())

    def _of(self, schema: Schema, path: Path, request: Any, inside: tuple[str, ...]) -> Iterator[Any]:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in inside:
                yield from self._of(self._defs[name], path, request, (*inside, name))
        for one in _alternatives(schema):
            yield from self._of(one, path, request, inside)
        if "properties" in schema:
            yield from self._of_object(schema, path, placed(request, path, self._example(schema)), inside)
        elif isinstance(schema.get("items"), dict):
            yield from self._of(schema["items"], (*path, 0), placed(request, path, [None]), inside)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from self._of(schema["additionalProperties"], (*path, "a"), placed(request, path, {"a": 0}), inside)

    def _of_object(self, schema: Schema, path: Path, request: Any, inside: tuple[str, ...]) -> Iterator[Any]:
        yield request
        if path:
            yield placed(request, (*path, "unknown_field"), 1)
        for name, value in schema["properties"].items():
            if not path and name in _NOT_MUTATED:
                continue
            yield dropped(request, (*path, name))
            values = [*_WRONG, self._example(value), *_constants(value)]
            yield from (placed(request, (*path, name), one) for one in values)
            yield from self._of(value, (*path, name), request, inside)

    def _example(self, schema: Schema) -> Any:
        if "$ref" in schema:
            return self._example(self._defs[schema["$ref"].rpartition("/")[2]])
        for one in _alternatives(schema):
            if one.get("type") != "null":
                return self._example(one)
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[-1])
        match schema.get("type"):
            case "object":
                return self._example_object(schema)
            case "array":
                return [self._example(one) for one in schema.get("prefixItems", [schema.get("items", {})])]
            case kind:
                return {"string": "a", "integer": 1, "number": 0.5, "boolean": True}.get(str(kind))

    def _example_object(self, schema: Schema) -> Any:
        if "properties" not in schema:
            inner = schema.get("additionalProperties")
            return {"a": self._example(inner)} if isinstance(inner, dict) else {"type": "object"}
        needed = {*schema.get("required", ()), "kind", "strategy"}
        return {name: self._example(one) for name, one in schema["properties"].items() if name in needed}


def _alternatives(schema: Schema) -> list[Schema]:
    return [*schema.get("oneOf", ()), *schema.get("anyOf", ())]


def _constants(schema: Schema) -> list[Any]:
    """Return each value of an enumeration."""
    return [value for one in (schema, *schema.get("anyOf", ())) for value in one.get("enum", ())]


def placed(request: Any, path: Path, value: Any) -> Any:
    """Return a copy with `value` at a place."""
    copied = inner = deepcopy(request)
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return copied


def dropped(request: Any, path: Path) -> Any:
    """Return a copy without what stands at a place."""
    copied = inner = deepcopy(request)
    for name in path[:-1]:
        inner = inner[name]
    inner.pop(path[-1], None)
    return copied
