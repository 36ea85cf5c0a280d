"""The common base of this package's models: their configuration, tagged unions, and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...errors import InvalidConversation

M = TypeVar("M", bound=BaseModel)

AtLeastOne = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


class Guest(BaseModel):
    """An object whose unknown fields agent-server ignores; they are stored as they were sent."""

    model_config = ConfigDict(extra="allow", defer_build=True, allow_inf_nan=False, protected_namespaces=())


class Strict(BaseModel):
    """An object in which agent-server refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", defer_build=True, allow_inf_nan=False, protected_namespaces=())


def dump(model: BaseModel) -> dict[str, Any]:
    """Return the fields that a client sent, converted to the types that agent-server uses."""
    fields: dict[str, Any] = model.model_dump(mode="json", exclude_unset=True, by_alias=True)
    return fields


def validate(model: type[M], fields: object, where: Sequence[str | int] = ()) -> M:
    """Return `fields` as an instance of `model`.

    Raises:
        InvalidConversation: agent-server would refuse some values; the message lists their paths below `where`.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [{"type": one["type"], "loc": [*where, *_place(one["loc"])], "msg": one["msg"]} for one in found]
        shown = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the request'}: {one['msg']}" for one in problems[:5])
        raise InvalidConversation(f"agent-server would refuse it: {shown}", problems=problems) from None


def _place(loc: Sequence[str | int]) -> list[str | int]:
    """Return the path of a value, without the kinds that pydantic adds for each tagged union."""
    return [part for part in loc if part not in _KINDS]


_KINDS = frozenset({
    "Agent", "ACPAgent", "LLMSummarizingCondenser", "NoOpCondenser", "PipelineCondenser", "AgentFinishedCritic",
    "APIBasedCritic", "EmptyPatchCritic", "PassCritic", "LookupSecret", "StaticSecret", "AlwaysConfirm", "ConfirmRisky",
    "NeverConfirm", "PatternSecurityAnalyzer", "PolicyRailSecurityAnalyzer", "EnsembleSecurityAnalyzer",
    "GraySwanAnalyzer", "LLMSecurityAnalyzer", "ToolShieldLLMSecurityAnalyzer",
})  # fmt: skip


def _check_relative(path: str) -> str:
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive
    if not path or absolute or "\\" in path or ".." in PurePosixPath(path).parts:
        raise ValueError("the path must be relative, with '/' and without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_check_relative)]


def _empty_if_null(value: object) -> object:
    return {} if value is None else value


Parameters = Annotated[dict[str, Any], BeforeValidator(_empty_if_null)]


def as_object(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, otherwise an empty object."""
    return value if isinstance(value, dict) else {}
