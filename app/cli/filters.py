"""The conversation filters as a group of options, the same for every command with filters."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import typer

from ..errors import InvalidSettings
from ..model.filters import Archived, ConversationFilter, LookIn, Status, Tag, is_blank, parse_tag
from ..model.ids import ConversationId, parse_conversation_id
from ..model.info import match_tag_key
from ..model.periods import QUARTER_US
from ..model.times import find_time_us
from .registration import OptionGroup

_TIME = "ISO 8601, e.g. 2026-01-31; UTC without a zone."


def _make_filter(
    q: Annotated[
        str | None, typer.Option("--q", help="Only with this text in messages or title; see `convstore search`.")
    ] = None,
    look_in: Annotated[
        LookIn, typer.Option(help="Search in titles and what was said, in what tools did, or in all of these.")
    ] = LookIn.SAID,
    status: Annotated[
        list[Status] | None, typer.Option(help="Only with this status; repeated: with any of these.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Only with this text in the title; case is ignored.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="Only with this tag; repeated: with all of these.")
    ] = None,
    workspace: Annotated[
        list[str] | None, typer.Option(help="Only with this working directory; repeated: with any of these.")
    ] = None,
    workspace_under: Annotated[
        str | None, typer.Option(metavar="DIR", help="Only with this working directory or one below it.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only with this model.")] = None,
    agent_kind: Annotated[str | None, typer.Option(help="Only with this kind of agent.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only children of this conversation.")] = None,
    top_level: Annotated[
        bool | None, typer.Option("--top-level/--children", help="Only without a parent, or only with one.")
    ] = None,
    orphaned: Annotated[bool, typer.Option("--orphaned", help="Only with a parent that does not exist.")] = False,
    forked_from: Annotated[str | None, typer.Option(metavar="ID", help="Only forks of this conversation.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only updated at this time or later: {_TIME}")
    ] = None,
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Only updated before this time.")] = None,
    created_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only created at this time or later.")
    ] = None,
    created_before: Annotated[str | None, typer.Option(metavar="TIME", help="Only created before this time.")] = None,
    active_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only with the last event at this time or later.")
    ] = None,
    active_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only with the last event before this time.")
    ] = None,
    events_since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only with an event at this time or later, in full quarter hours."),
    ] = None,
    events_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only with an event before this time, and after --events-since.")
    ] = None,
    min_cost: Annotated[float | None, typer.Option(help="Only with this cost or more.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Only with less cost.")] = None,
    min_events: Annotated[int | None, typer.Option(min=0, help="Only with at least this many events.")] = None,
    max_events: Annotated[int | None, typer.Option(min=0, help="Only with fewer events than this.")] = None,
    archived: Annotated[Archived, typer.Option(help="Not archived, archived, or any.")] = Archived.FALSE,
    subagents: Annotated[
        Archived, typer.Option(help="false: without conversations of sub-agents; true: only these; any: both.")
    ] = Archived.FALSE,
    unreadable: Annotated[
        bool | None, typer.Option("--unreadable/--readable", help="Only with unreadable files, or only without.")
    ] = None,
    openable: Annotated[
        bool | None, typer.Option("--openable/--not-openable", help="Only those that agent-server can open, or cannot.")
    ] = None,
    pinned: Annotated[
        bool | None, typer.Option("--pinned/--not-pinned", help="Only pinned, or only not pinned.")
    ] = None,
    owned: Annotated[
        bool | None, typer.Option("--owned/--free", help="Only owned by a server now, or only not owned.")
    ] = None,
) -> ConversationFilter:
    return ConversationFilter(
        q=_words("--q", q),
        look_in=look_in,
        statuses=tuple(status or ()),
        title_contains=_words("--title", title),
        tags=read_tags("--tag", tag),
        workspaces=tuple(workspace or ()),
        workspace_under=workspace_under,
        model=model,
        agent_kind=agent_kind,
        parent=_id(parent),
        top_level=top_level,
        orphaned=orphaned or None,
        forked_from=_id(forked_from),
        updated_at_gte_us=_time("--since", since),
        updated_at_lt_us=_time("--before", before),
        created_at_gte_us=_time("--created-since", created_since),
        created_at_lt_us=_time("--created-before", created_before),
        last_event_at_gte_us=_time("--active-since", active_since),
        last_event_at_lt_us=_time("--active-before", active_before),
        event_at_gte_us=_quarter("--events-since", events_since),
        event_at_lt_us=_quarter("--events-before", events_before),
        cost_gte=_cost("--min-cost", min_cost),
        cost_lt=_cost("--max-cost", max_cost),
        event_count_gte=min_events,
        event_count_lt=max_events,
        archived=archived.asked,
        subagents=subagents.asked,
        unreadable=unreadable,
        openable=openable,
        pinned=pinned,
        owned=owned,
    )


def _id(text: str | None) -> ConversationId | None:
    return None if text is None else parse_conversation_id(text)


def _words(option: str, text: str | None) -> str | None:
    if is_blank(text):
        raise InvalidSettings(f"{option} {text!r} is blank and excludes nothing; give words, or omit the option")
    return text


def read_tags(option: str, given: list[str] | None) -> tuple[Tag, ...]:
    """Return the tags given with an option.

    Raises:
        InvalidSettings: a text cannot be a conversation's tag.
    """
    tags = tuple(parse_tag(text) for text in given or ())
    for text, tag in zip(given or (), tags, strict=True):
        if not match_tag_key(tag.key):
            told = "write KEY, KEY:VALUE or KEY=VALUE, the key in lower-case letters and digits"
            raise InvalidSettings(f"{option} {text[:64]!r} is not a tag; {told}")
    return tags


def _cost(option: str, cost: float | None) -> float | None:
    if cost is not None and not math.isfinite(cost):
        raise InvalidSettings(f"{option} {cost} is not a cost; write a number")
    return cost


def _time(option: str, text: str | None) -> int | None:
    found = find_time_us(text)
    if text is not None and found is None:
        raise InvalidSettings(f"{option} {text[:64]!r} is not a time; write it as 2026-01-31 or 2026-01-31T12:00:00Z")
    return found


def _quarter(option: str, text: str | None) -> int | None:
    found = _time(option, text)
    if found is not None and found % QUARTER_US:
        raise InvalidSettings(f"{option} {text!r} is no full quarter of an hour; write 10:00, 10:15, 10:30 or 10:45")
    return found


FilterOptions = Annotated[ConversationFilter, OptionGroup(_make_filter)]
AnyArchivedFilterOptions = Annotated[ConversationFilter, OptionGroup(partial(_make_filter, archived=Archived.ANY))]
"""Filters that also match archived conversations unless --archived is given."""
