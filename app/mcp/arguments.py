"""The arguments of the tools, checked by pydantic, and their JSON Schema, kept short for a model's context."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from ..model.filters import Archived, ConversationFilter, LookIn, Status, parse_tag
from ..model.page import SortOrder
from ..model.periods import Period
from ..model.times import to_us
from .quoting import shorten

CHARS_MAX = 4000
"""The default length of an answer."""

_CHARS_LEAST, CHARS_MOST = 2000, 40_000
_TEXT_MAX = 4200
_WINDOW_MAX = 50
_PROBLEMS_TOLD = 10
_NAME_MAX = 64


def _as_list(given: object) -> object:
    """Turn a single text or null, which models write instead of a list, into a list."""
    return [] if given is None else [given] if isinstance(given, str) else given


def _as_text(given: object) -> object:
    """Turn true and false, which models write instead of "true" and "false", into texts."""
    return str(given).lower() if isinstance(given, bool) else given


Value = Annotated[str, Field(min_length=1)] | SkipJsonSchema[None]
Text = Annotated[str, Field(min_length=1, max_length=_TEXT_MAX)] | SkipJsonSchema[None]
Moment = datetime | SkipJsonSchema[None]
Shelf = Annotated[Archived, BeforeValidator(_as_text)]
Id = Annotated[str, Field(min_length=4, max_length=200, description="id, or its first characters")]


class Arguments(BaseModel):
    """The arguments of all tools. Unknown ones are refused, because they would be ignored."""

    model_config = ConfigDict(extra="forbid")

    max_chars: int = Field(
        default=CHARS_MAX, ge=_CHARS_LEAST, le=CHARS_MOST, description="longest answer, in characters"
    )


class Filters(Arguments):
    """Filters for conversations. A conversation must match all of them."""

    workspace: Value = Field(default=None, description="working directory; those below match, too")
    status: Annotated[list[Status], BeforeValidator(_as_list)] = Field(default=[], description="any of these")
    model: Value = Field(default=None, description="exact model name")
    tag: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[], max_length=20, description="key or key:value; all of these"
    )
    archived: Shelf = Field(default=Archived.FALSE, description="any: archived ones, too")

    @property
    def conversation_filter(self) -> ConversationFilter:
        """The filter that these arguments describe. Conversations of sub-agents match, too."""
        return ConversationFilter(
            statuses=tuple(self.status),
            workspace_under=self.workspace,
            model=self.model,
            tags=tuple(parse_tag(text) for text in self.tag),
            archived=self.archived.asked,
            subagents=None,
        )

    @property
    def given(self) -> list[str]:
        """The names of the filters that may leave conversations out."""
        names = self.model_fields_set & {*_NARROWING}
        return sorted(name for name in names if getattr(self, name) not in (None, []))


class DatedFilters(Filters):
    """Filters, also by the time of the last change."""

    since: Moment = Field(default=None, description="changed at this time or later, ISO 8601")
    before: Moment = Field(default=None, description="changed before this time")

    @property
    def conversation_filter(self) -> ConversationFilter:
        """The filter that these arguments describe."""
        asked = super().conversation_filter
        return replace(asked, updated_at_gte_us=_to_us(self.since), updated_at_lt_us=_to_us(self.before))


class SearchMessages(DatedFilters):
    """The arguments of `search_messages`."""

    query: str = Field(
        max_length=_TEXT_MAX,
        description='all words must occur; "exact phrase", -excluded, OR; the last word may be incomplete',
    )
    in_tools: bool = Field(default=False, description="search also in commands, paths and errors of tools")
    conversation_id: Id | SkipJsonSchema[None] = Field(
        default=None, description="only this conversation, in the order of its events; no other filter"
    )
    limit: int = Field(default=8, ge=1, le=50)
    page_id: Text = Field(default=None, description="from the previous page")

    @property
    def look_in(self) -> LookIn:
        """The texts to search."""
        return LookIn.ALL if self.in_tools else LookIn.SAID

    @property
    def conversation_filter(self) -> ConversationFilter:
        """The filter that these arguments describe."""
        return replace(super().conversation_filter, look_in=self.look_in)


class ListConversations(DatedFilters):
    """The arguments of `list_conversations`."""

    title: Text = Field(default=None, description="text in the title")
    sort: Literal[
        "UPDATED_AT_DESC", "UPDATED_AT", "CREATED_AT_DESC", "CREATED_AT", "COST_DESC", "EVENT_COUNT_DESC", "TITLE"
    ] = "UPDATED_AT_DESC"
    limit: int = Field(default=10, ge=1, le=50)
    page_id: Text = Field(default=None, description="from the previous page")

    @property
    def conversation_filter(self) -> ConversationFilter:
        """The filter that these arguments describe."""
        return replace(super().conversation_filter, title_contains=self.title)

    @property
    def order(self) -> SortOrder:
        """The sort order."""
        return SortOrder(self.sort)


class GetOutline(Arguments):
    """The arguments of `get_outline`."""

    conversation_id: Id


class GetEvents(Arguments):
    """The arguments of `get_events`."""

    conversation_id: Id
    around: int | Annotated[str, Field(max_length=100)] | SkipJsonSchema[None] = Field(
        default=None, description="number or id of an event; without it, the last events"
    )
    before: int = Field(default=3, ge=0, le=_WINDOW_MAX, description="events before it")
    after: int = Field(default=6, ge=0, le=_WINDOW_MAX, description="events after it")


class UsageSummary(Filters):
    """The arguments of `usage_summary`."""

    archived: Shelf = Archived.ANY
    by: Period = Field(default=Period.MONTH)
    split: Literal["model", "workspace", "status"] | SkipJsonSchema[None] = None
    since: Moment = Field(default=None, description="model calls at this time or later, ISO 8601")

    @property
    def since_us(self) -> int:
        """The time from which model calls count."""
        return _to_us(self.since) or 0


class FindEdits(DatedFilters):
    """The arguments of `find_edits`."""

    path: str = Field(min_length=1, max_length=4096, description="as the agent's tool named it; absolute is best")
    limit: int = Field(default=20, ge=1, le=100)


_NARROWING = ("workspace", "status", "model", "tag", "since", "before", "title")


def make_schema(arguments: type[Arguments]) -> dict[str, Any]:
    """Return the JSON Schema of a tool's arguments, without the parts that tell a model nothing."""
    schema = arguments.model_json_schema()
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    shortened: dict[str, Any] = _shorten(schema, definitions)
    return shortened


def _shorten(value: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema without titles and nulls, and with the definitions of its enums in their places."""
    if isinstance(value, list):
        return [_shorten(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        enum = definitions[value["$ref"].rpartition("/")[2]]
        value = {**{name: enum[name] for name in ("type", "enum")}, **value}
    return {
        name: {key: _shorten(one, definitions) for key, one in inner.items()}
        if name == "properties"
        else _shorten(inner, definitions)
        for name, inner in value.items()
        if name not in ("title", "$ref", "minLength", "maxLength", "maxItems", "format")
        and not (name == "default" and inner in (None, []))
    }


def explain(error: ValidationError) -> str:
    """Return what is wrong with arguments, in one sentence for each of the first, without their values."""
    told = []
    for problem in error.errors(include_url=False, include_input=False):
        name = shorten(".".join(str(part) for part in problem["loc"]), _NAME_MAX) or "arguments"
        told.append(f"{name}: {problem['msg']}")
    more = len(told) - _PROBLEMS_TOLD
    return "; ".join([*told[:_PROBLEMS_TOLD], *([f"and {more} more"] if more > 0 else [])])


def _to_us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
