"""The contents of the list page: filters with counts, chips, and rows with hits.

Links contain the whole filter state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from ..index.conversation_list import Family, Page
from ..model.facets import FacetCounts, Facets
from ..model.filters import LookIn
from ..model.hits import Hit
from ..model.ids import ConversationId
from ..model.page import SortOrder
from ..model.periods import ActivityPoint
from ..model.text.ranking import RANKED
from . import markup
from .rows import make_list_row
from .workspace_tree import Directory, make_tree

_WEEKS = 28
TODAY = "today"
_NOT_FILTERS = ("sort_order", "q", "in", "active")
_NOT_STATE = ("page_id", "tz")
_ORDERS = (
    (SortOrder.UPDATED_AT_DESC, "Updated"),
    (SortOrder.CREATED_AT_DESC, "Created"),
    (SortOrder.LAST_EVENT_AT_DESC, "Last event"),
    (SortOrder.COST_DESC, "Cost"),
    (SortOrder.EVENT_COUNT_DESC, "Events"),
    (SortOrder.TITLE, "Title"),
)
_PLACES = ((LookIn.SAID, "what was said"), (LookIn.TOOLS, "tools"), (LookIn.ALL, "everything"))
_LABELS = {
    "status": "status", "workspace": "workspace", "workspace_under": "below", "model": "model", "tag": "tag",
    "parent_conversation_id": "part of", "forked_from": "forked from", "created_at__gte": "created since",
    "created_at__lt": "created before", "last_event_at__gte": "active since", "last_event_at__lt": "active before",
}  # fmt: skip
_SWITCHES = {
    "archived": ("Archived", {"archived": "true"}),
    "pinned": ("Pinned", {"pinned": "true"}),
    "sub-conversations": ("Sub-conversations", {"top_level": "false", "subagents": "any"}),
    "unreadable": ("Unreadable", {"unreadable": "true"}),
}
"""The filters under "More": a label, and the parameters that they set."""

SWITCHES = tuple(_SWITCHES)


_BELOW = ("conversations", "workspace/conversations", "agent-canvas/conversations")
"""Where OpenHands keeps conversations below the directories that people give instead."""


def find_nearby(root: Path) -> Path | None:
    """Return the directory of conversations that was probably meant by an empty `root`, or None."""
    return next((root / below for below in _BELOW if (root / below).is_dir()), None)


class Choice(NamedTuple):
    """A value of a filter: its label, the number of conversations, and the address that turns it on or off."""

    label: str
    number: int
    href: str
    on: bool


@dataclass(slots=True)
class Branch:
    """A directory of the filter by workspace, with those below it."""

    choice: Choice
    path: str
    below: list[Branch]


class Chip(NamedTuple):
    """An active filter, and the address without it."""

    label: str
    href: str


class Bar(NamedTuple):
    """A bar of the histogram: a week, and the address of the conversations with an event in it."""

    x: int
    y: int
    height: int
    label: str
    href: str
    selected: bool


class Address:
    """The query string of the page's address, which holds the filters and the order."""

    def __init__(self, query: str) -> None:
        self.pairs = [pair for pair in parse_qsl(query) if pair[0] not in _NOT_STATE]

    def toggle(self, name: str, value: str, *, several: bool = False) -> str:
        """Return the address with a value added, or removed if present. Without `several`, it replaces other values."""
        if (name, value) in self.pairs:
            return self._href([pair for pair in self.pairs if pair != (name, value)])
        kept = self.pairs if several else [pair for pair in self.pairs if pair[0] != name]
        return self._href([*kept, (name, value)])

    def switch(self, pairs: Mapping[str, str]) -> str:
        """Return the address with all of these values, or without them if it has them."""
        kept = [pair for pair in self.pairs if pair[0] not in pairs]
        return self._href(kept if self.has_all(pairs) else [*kept, *pairs.items()])

    def has_all(self, pairs: Mapping[str, str]) -> bool:
        """Whether the address has all of these filter values."""
        return pairs.items() <= {*self.pairs}

    def choose(self, name: str, value: str) -> str:
        """Return the address with this value instead of others of the filter."""
        return self._href([*(pair for pair in self.pairs if pair[0] != name), (name, value)])

    def without(self, name: str, value: str) -> str:
        """Return the address without a filter value."""
        return self._href([pair for pair in self.pairs if pair != (name, value)])

    def has(self, name: str, value: str) -> bool:
        """Whether the address has a filter value."""
        return (name, value) in self.pairs

    @staticmethod
    def _href(pairs: list[tuple[str, str]]) -> str:
        return f"/?{urlencode(pairs)}" if pairs else "/"


def make_list(
    query: str,
    facets: Facets,
    workspaces: FacetCounts,
    switches: Mapping[str, int],
    order: SortOrder,
) -> dict[str, object]:
    """Return the context of list.html, but for its rows. `switches` has the count of each of `SWITCHES`."""
    address = Address(query)
    asked = dict(address.pairs)
    return {
        "count": facets.count,
        "q": asked.get("q", ""),
        "without_q": address.without("q", asked.get("q", "")),
        "look_in": asked.get("in", LookIn.SAID.value),
        "places": [(one.value, label, address.choose("in", one.value)) for one, label in _PLACES],
        "groups": _groups(address, facets),
        "tree": [_branch(address, one) for one in make_tree(workspaces.values)],
        "more": [
            Choice(label, switches[name], address.switch(pairs), address.has_all(pairs))
            for name, (label, pairs) in _SWITCHES.items()
        ],
        "chips": _chips(address),
        "order": order.value,
        "orders": [
            *([(SortOrder.RELEVANCE.value, "Relevance")] if asked.get("q") else []),
            *((one.value, label) for one, label in _ORDERS),
        ],
    }


def show_hits(number: int) -> str:
    """Return the number of hits in words. It is not counted further than hits are ranked."""
    if number > RANKED:
        return f"over {RANKED:,} hits"
    return f"{number:,} hit{'' if number == 1 else 's'}"


def _groups(address: Address, facets: Facets) -> list[tuple[str, list[Choice]]]:
    groups = []
    for name, title in (("status", "Status"), ("model", "Model"), ("tag", "Tag")):
        choices = [
            Choice(value, count, address.toggle(name, value, several=name != "model"), address.has(name, value))
            for value, count in facets.by[name].values
        ]
        groups.append((title, choices))
    return [(title, choices) for title, choices in groups if choices]


def _branch(address: Address, directory: Directory) -> Branch:
    """Return a directory as a filter: by the directory and all below it, or if nothing is below, by it alone."""
    name = "workspace_under" if directory.below else "workspace"
    href = address.toggle(name, directory.path, several=name == "workspace")
    choice = Choice(directory.label, directory.number, href, address.has(name, directory.path))
    return Branch(choice, directory.path, [_branch(address, one) for one in directory.below])


def _chips(address: Address) -> list[Chip]:
    switched = {label: pairs for label, pairs in _SWITCHES.values() if address.has_all(pairs)}
    hidden = {pair for pairs in switched.values() for pair in pairs.items()}
    return [
        *(
            Chip(f"{_LABELS.get(name, name)}: {value}", address.without(name, value))
            for name, value in address.pairs
            if name not in _NOT_FILTERS and (name, value) not in hidden
        ),
        *(
            Chip(f"active {_show_days(value)}", address.without(name, value))
            for name, value in address.pairs
            if name == "active"
        ),
        *(Chip(label.lower(), address.switch(pairs)) for label, pairs in switched.items()),
    ]


def parse_days(text: str, today: date) -> tuple[date, date] | None:
    """Return the first and the last day of `today`, `2026-11-28` or `2026-11-02..2026-11-08`, or None."""
    if text == TODAY:
        return today, today
    try:
        first, _, last = text.partition("..")
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        return None
    return days if days[0] <= days[1] < date.max else None


def find_span(days: tuple[date, date], zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the beginning of the first day and the end of the last, in a zone."""
    first, last = days
    return datetime.combine(first, time(), zone), datetime.combine(last + timedelta(days=1), time(), zone)


def begin_of_weeks(today: date) -> date:
    """Return the Monday with which the histogram begins."""
    return today - timedelta(days=today.weekday(), weeks=_WEEKS - 1)


def _show_days(text: str) -> str:
    first, _, last = text.partition("..")
    return first if not last else f"{first} to {last}"


def make_activity(query: str, weeks: list[ActivityPoint], today: date, today_number: int) -> dict[str, object]:
    """Return the context of activity.html: the number of conversations with an event in each of the last weeks."""
    address = Address(query)
    counted = {point.begin.date(): point.conversations for point in weeks}
    most = max(counted.values(), default=0) or 1
    chosen = next((parse_days(value, today) for name, value in address.pairs if name == "active"), None)
    bars = []
    for place in range(_WEEKS):
        monday = begin_of_weeks(today) + timedelta(weeks=place)
        sunday = monday + timedelta(days=6)
        number = counted.get(monday, 0)
        height = max(2, round(41 * number / most)) if number else 0
        bars.append(
            Bar(
                7 * place,
                44 - height,
                height,
                f"{monday} to {sunday}: {number:,} conversation{'' if number == 1 else 's'}",
                address.choose("active", f"{monday}..{sunday}"),
                chosen is not None and chosen[0] <= sunday and monday <= chosen[1],
            )
        )
    return {
        "bars": bars if counted else [],
        "today": Choice("Today", today_number, address.toggle("active", TODAY), address.has("active", TODAY)),
    }


def make_rows(
    page: Page, hits: Mapping[ConversationId, list[Hit]], families: Mapping[ConversationId, Family], question: str
) -> dict[str, object]:
    """Return the context of rows.html."""
    rows = [make_list_row(body) for body in page.items]
    for row, one in zip(rows, page.ids, strict=True):
        row.hits = hits.get(one, [])
        row.marked = markup.marked(row.name, question) if question else None
        if one in families:
            row.add_family(families[one])
    return {"rows": rows, "next": page.next_page_id}
