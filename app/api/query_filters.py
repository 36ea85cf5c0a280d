"""The conversation filters as parameters, the same for search, count, facets, messages and bulk requests.

Also the types of their fields, which other parameters and bodies share: ids and times. None of it needs FastAPI.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property, partial
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from ..errors import InvalidId
from ..model.facets import Facet, FacetKind, parse_facets
from ..model.filters import Archived, ConversationFilter, LookIn, Status, parse_tag
from ..model.ids import ConversationId, parse_conversation_id
from ..model.periods import QUARTER_US
from ..model.times import to_us
from .cached_routes import CachedQuery

_ZONE_AFTER_SPACE = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")
_INT64_MAX = 2**63 - 1
_EMPTY: JsonDict = {"default": []}
"""Documents the default of a list. As a `default`, pydantic would copy it deeply for each request."""


def _check_id(text: str, *, exact: bool = False) -> ConversationId:
    try:
        return parse_conversation_id(text, exact=exact)
    except InvalidId as error:
        raise ValueError(str(error)) from error


def _restore_plus(given: object) -> object:
    """Restore the plus of a time's zone offset. Unescaped in a URL, it arrives as a space."""
    return _ZONE_AFTER_SPACE.sub(r"\1+\2", given) if isinstance(given, str) else given


ID_SCHEMA = {
    "type": "string",
    "pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})$",
}
AnyId = Annotated[str, AfterValidator(_check_id), WithJsonSchema(ID_SCHEMA)]
ExactId = Annotated[str, AfterValidator(partial(_check_id, exact=True)), WithJsonSchema(ID_SCHEMA)]
"""The id of a conversation to change. Only a GET understands an id with other characters around it."""
Moment = Annotated[datetime, BeforeValidator(_restore_plus)]

_KIND = f"({'|'.join(FacetKind)}|{FacetKind.TAG}:[^,]+)"
_FACETS_SCHEMA = {"type": "string", "pattern": f"^{_KIND}(,{_KIND})*$", "examples": ["status", "model,tag:area"]}
FacetNames = Annotated[str, Field(max_length=1000), WithJsonSchema(_FACETS_SCHEMA)]

VIEW = "full: ConversationInfo; row: about 500 bytes, without agent, metrics and settings (see ConversationRow)"
"""What a list's `view` means."""

TagText = Annotated[str, Field(min_length=1)]
Cost = Annotated[float, Field(allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, le=_INT64_MAX)]


def _require_quarter(moment: datetime) -> datetime:
    if to_us(moment) % QUARTER_US:
        raise ValueError("use a full quarter of an hour, such as 10:00, 10:15, 10:30 or 10:45")
    return moment


Quarter = Annotated[Moment, AfterValidator(_require_quarter)]


def _as_list(given: object) -> object:
    """Turn a single text or null, which a body may contain instead of a list, into a list."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else given


def split_names(given: object) -> object:
    """Split names that are separated by commas, as in `cost,tokens`."""
    return ",".join(given).split(",") if isinstance(given, list) and given else given


SUBAGENTS = "false: without conversations of sub-agents; true: only these; any: both"


class FilterQuery(CachedQuery):
    """Filters for conversations. A conversation must match all of them. Times without a zone are UTC."""

    repeated: ClassVar[frozenset[str]] = frozenset({"status", "tag", "workspace"})

    q: str | None = Field(
        default=None,
        description='with this text in messages or title: words, "exact phrases", -excluded words, OR between words; '
        "the last word may be incomplete",
    )
    look_in: LookIn = Field(
        default=LookIn.SAID,
        alias="in",
        description="where `q` searches: in titles and what was said; in commands, paths and errors of tools (with "
        "CONVSTORE_SEARCH_TOOLS in all their input and output); or in all of these",
    )
    status: Annotated[list[Status], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        json_schema_extra=_EMPTY,
        description="with this execution status; repeated: with any of these",
    )
    title__contains: str | None = Field(
        default=None, max_length=200, description="with this text in the title; case and accents are ignored"
    )
    tag: Annotated[list[TagText], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        json_schema_extra=_EMPTY,
        max_length=20,
        description="with this tag, given as key, key:value or key=value; repeated: with all of these",
    )
    workspace: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        json_schema_extra=_EMPTY,
        max_length=8,
        description="with this working directory; repeated: with any of these",
    )
    workspace_under: str | None = Field(
        default=None, description="with this working directory or one below it, at any depth"
    )
    model: str | None = Field(default=None, description="with this model")
    agent_kind: str | None = Field(default=None, description="with this kind of agent")
    parent_conversation_id: AnyId | None = Field(default=None, description="children of this conversation")
    top_level: bool | None = Field(default=None, description="true: without a parent; false: with a parent")
    orphaned: bool | None = Field(
        default=None, description="true: with a parent that does not exist, as after its deletion; false: all others"
    )
    forked_from: AnyId | None = Field(default=None, description="forked from this conversation")
    created_at__gte: Moment | None = Field(default=None, description="created at this time or later")
    created_at__lt: Moment | None = Field(default=None, description="created before this time")
    updated_at__gte: Moment | None = Field(default=None, description="updated at this time or later")
    updated_at__lt: Moment | None = Field(default=None, description="updated before this time")
    last_event_at__gte: Moment | None = Field(default=None, description="with the last event at this time or later")
    last_event_at__lt: Moment | None = Field(default=None, description="with the last event before this time")
    event_at__gte: Quarter | None = Field(
        default=None, description="with an event at this time or later; a full quarter of an hour, as each midnight is"
    )
    event_at__lt: Quarter | None = Field(
        default=None, description="with an event before this time; with event_at__gte: with an event in that span"
    )
    cost__gte: Cost | None = Field(default=None, description="with this cost or more")
    cost__lt: Cost | None = Field(default=None, description="with less cost")
    event_count__gte: Number | None = Field(default=None, description="with at least this many events")
    event_count__lt: Number | None = Field(default=None, description="with fewer events than this")
    archived: Archived = Field(default=Archived.FALSE, description="false: not archived; true: archived; any: both")
    subagents: Archived = Field(default=Archived.FALSE, description=SUBAGENTS)
    unreadable: bool | None = Field(default=None, description="true: with unreadable files; false: without")
    openable: bool | None = Field(default=None, description="true: agent-server can open it; false: it cannot")
    pinned: bool | None = Field(default=None, description="true: pinned; false: not pinned")
    owned: bool | None = Field(default=None, description="true: owned by a server now; false: not owned")

    @property
    def depends_on_index_only(self) -> bool:
        """Whether the answer does not depend on the current time. A filter by `owned` does."""
        return self.owned is None

    @cached_property
    def conversation_filter(self) -> ConversationFilter:
        """The filter that these parameters describe."""
        return ConversationFilter(
            q=self.q,
            look_in=self.look_in,
            statuses=tuple(self.status),
            title_contains=self.title__contains,
            tags=tuple(parse_tag(text) for text in self.tag),
            workspaces=tuple(self.workspace),
            workspace_under=self.workspace_under,
            model=self.model,
            agent_kind=self.agent_kind,
            parent=_parse_id(self.parent_conversation_id),
            top_level=self.top_level,
            orphaned=self.orphaned,
            forked_from=_parse_id(self.forked_from),
            created_at_gte_us=_to_us(self.created_at__gte),
            created_at_lt_us=_to_us(self.created_at__lt),
            updated_at_gte_us=_to_us(self.updated_at__gte),
            updated_at_lt_us=_to_us(self.updated_at__lt),
            last_event_at_gte_us=_to_us(self.last_event_at__gte),
            last_event_at_lt_us=_to_us(self.last_event_at__lt),
            event_at_gte_us=_to_us(self.event_at__gte),
            event_at_lt_us=_to_us(self.event_at__lt),
            cost_gte=self.cost__gte,
            cost_lt=self.cost__lt,
            event_count_gte=self.event_count__gte,
            event_count_lt=self.event_count__lt,
            archived=self.archived.asked,
            subagents=self.subagents.asked,
            unreadable=self.unreadable,
            openable=self.openable,
            pinned=self.pinned,
            owned=self.owned,
        )


class FacetQuery(FilterQuery):
    """Facets to count by, under the filters of search.

    Unknown parameters are refused, because they would be ignored.
    """

    model_config = ConfigDict(extra="forbid")
    repeated: ClassVar[frozenset[str]] = FilterQuery.repeated | {"by", "sum"}

    by: list[FacetNames] = Field(
        min_length=1,
        description="status, model, workspace, agent_kind, tag (keys), tag:key (values), day, month (of creation, UTC);"
        " separate several with commas, or repeat the parameter",
    )
    sum: Annotated[list[Literal["cost", "tokens"]], BeforeValidator(split_names)] = Field(
        default_factory=list,
        json_schema_extra=_EMPTY,
        description="also sum up the cost or the tokens of each value; separate both with a comma",
    )
    limit: int = Field(default=20, gt=0, le=1000, description="the maximum number of values of each facet")

    @property
    def facets(self) -> list[Facet]:
        """The facets to count by, without duplicates."""
        return parse_facets(",".join(self.by))


def _parse_id(text: str | None) -> ConversationId | None:
    return None if text is None else ConversationId(text)


def _to_us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
