"""The only filter builder: it converts a ConversationFilter to SQL for lists, counts, facets and search.

A filter is a set of named conditions; a statement is built once for each set of names. A condition is either found in a
database index or checked row by row. In a statement that scans rows anyway, columns with few distinct values are
written `+column`. Otherwise SQLite would use their database index and then look up each row in the table, which takes
three times as long as a scan of 100,000 rows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, literal_column, or_, select, true

from ..model.conversation import COLUMN_MAX, TAG_MAX, truncate_text
from ..model.filters import ConversationFilter, Tag
from ..model.periods import QUARTER_US
from ..model.text.tokenizer import fold_title, parse_question
from ..model.workspace import find_below, normalize_workspace
from . import dialect
from .messages import parameters_of, saying, titled
from .tables import activity, conversation, conversation_tag

Column = Callable[[str], ColumnElement[Any]]
"""Returns a column of `conversation` by name."""

Clause = Callable[[Column], ColumnElement[bool]]


class CompiledFilter(NamedTuple):
    """The names of a filter's conditions, and the values of their parameters."""

    names: tuple[str, ...]
    values: dict[str, object]


def bare(name: str) -> ColumnElement[Any]:
    """Return a column."""
    return conversation.c[name]


def unindexed(name: str) -> ColumnElement[Any]:
    """Return a column in a form for which SQLite uses no database index, neither to find rows nor to sort."""
    return dialect.unindexed(conversation.c[name])


def _is(name: str) -> Clause:
    return lambda column: column(name) == bindparam(name)


def _from(name: str) -> Clause:
    return lambda column: column(name) >= bindparam(f"{name}_gte")


def _before(name: str) -> Clause:
    return lambda column: column(name) < bindparam(f"{name}_lt")


def _titled(column: Column) -> ColumnElement[bool]:
    return dialect.contains(column("title_key"), bindparam("title"))


_parent = conversation.alias("parent_row")


def _has_parent(column: Column) -> ColumnElement[bool]:
    """Return the condition that the parent of a row is in the index."""
    return select(_parent.c.id).where(_parent.c.uuid == column("parent")).correlate_except(_parent).exists()


RANGED = ("created_at", "updated_at", "last_event_at", "cost", "event_count")

COUNTED = ("status", "workspace", "model", "agent_kind")
"""The columns with few distinct values. Each has a database index that starts with `archived`."""

_CLAUSES: dict[str, Clause] = {
    "q": lambda column: saying(column("id")),
    "nothing": lambda _: literal_column("0") == literal_column("1"),
    "status": _is("status"),
    "title": _titled,
    "long title": _titled,
    "workspace": _is("workspace"),
    "workspace_under": lambda column: (  # the first two are a range of the database index; the last leaves out `/p-old`
        (column("workspace") >= bindparam("workspace_under"))
        & (column("workspace") < bindparam("workspace_end"))
        & (
            (column("workspace") == bindparam("workspace_under"))
            | (column("workspace") >= bindparam("workspace_first"))
        )
    ),
    "active": lambda column: column("id").in_(
        select(activity.c.conversation).where(
            activity.c.quarter >= bindparam("active_first"), activity.c.quarter < bindparam("active_end")
        )
    ),
    "model": _is("model"),
    "agent_kind": _is("agent_kind"),
    "parent": _is("parent"),
    "top level": lambda column: column("parent").is_(None),
    "not top level": lambda column: column("parent").is_not(None),
    "orphaned": lambda column: (column("parent") > literal_column("''")) & ~_has_parent(column),  # finds its index
    "not orphaned": lambda column: column("parent").is_(None) | _has_parent(column),
    "forked_from": _is("forked_from"),
    "unreadable": lambda column: column("unreadable").is_not(None),
    "not unreadable": lambda column: column("unreadable").is_(None),
    "openable": lambda column: column("openable") == literal_column("1"),
    "not openable": lambda column: column("openable") == literal_column("0"),
    "pinned": lambda column: column("pinned") == literal_column("1"),
    "not pinned": lambda column: column("pinned") == literal_column("0"),
    "owned": lambda column: column("owner_until") > bindparam("now"),
    "not owned": lambda column: (column("owner_until") <= bindparam("now")) | column("owner_until").is_(None),
    **{f"{name}_gte": _from(name) for name in RANGED},
    **{f"{name}_lt": _before(name) for name in RANGED},
}

FEW = frozenset({"active", "q", "nothing", "parent", "orphaned", "forked_from", "unreadable", "owned"})
"""The conditions that match few rows, each with its own database index."""

COLUMNS = (
    "id", "uuid", "status", "title_key", "workspace", "model", "agent_kind", "parent", "forked_from", "archived",
    "unreadable", "openable", "pinned", "owner_until", *RANGED,
)  # fmt: skip
"""The columns that conditions and sort orders use."""

ALL_SHELVES = (0, 1, 2, 3)
_ON_SHELVES = "archived "
_ANY_QUARTER = 2**40
_TRIGRAM = 3
_ONE_OF = "one of "
_COLUMN_OF = {"workspace_under": "workspace"}
_FOLDED = "folded"
_TAG, _KEY, _PAIR = "tag ", "k", "p"
_RARE = "rare "


_VALUES = {
    "model": "model",
    "agent_kind": "agent_kind",
    "parent": "parent",
    "forked_from": "forked_from",
    **{f"{name}_{end}": f"{name}_{end}_us" for name in RANGED[:3] for end in ("gte", "lt")},
    **{f"{name}_{end}": f"{name}_{end}" for name in RANGED[3:] for end in ("gte", "lt")},
}
"""The conditions that compare with one value, each with its field of the filter."""

_CHOICES = {
    "top level": "top_level",
    "orphaned": "orphaned",
    "unreadable": "unreadable",
    "openable": "openable",
    "pinned": "pinned",
    "owned": "owned",
}
"""The conditions that can be required or excluded, each with its field of the filter."""


def compile_filter(asked: ConversationFilter) -> CompiledFilter:
    """Return the conditions of a filter. `owned` is compared with the current time."""
    names, values = _compile_timeless(asked)
    values = {**values}  # callers add to it
    if asked.owned is not None:
        values["now"] = time.time_ns() // 1000
    return CompiledFilter(names, values)


@lru_cache(maxsize=512)
def _compile_timeless(asked: ConversationFilter) -> CompiledFilter:
    """Return the conditions of a filter, without the current time. All pages of a walk have the same."""
    values: dict[str, object] = {
        name: _cut(name, value) for name, field in _VALUES.items() if (value := getattr(asked, field)) is not None
    }
    names = list(values)
    title = fold_title(asked.title_contains)
    if title:
        names.append("title" if len(title) < _TRIGRAM else "long title")
        values |= {"title": title, "title_parts": '"{}"'.format(title.replace('"', '""')), "title_like": _like(title)}
    if asked.q and asked.q.strip():
        question = parse_question(asked.q)
        names.append("nothing" if question.match is None else "q")
        values |= parameters_of(question, asked.look_in)
    for more in (
        _compile_tags(asked.tags),
        _compile_any("status", asked.statuses),
        _compile_any("workspace", map(normalize_workspace, asked.workspaces)),
        _compile_below(asked.workspace_under),
        _compile_active(asked.event_at_gte_us, asked.event_at_lt_us),
    ):
        names += more.names
        values |= more.values
    if asked.shelves != ALL_SHELVES:
        names.append(shelf_name(asked.shelves))
    for name, field in _CHOICES.items():
        wanted = getattr(asked, field)
        if wanted is not None:
            names.append(name if wanted else f"not {name}")
    if asked.folded:
        names.append(_FOLDED)
    return CompiledFilter(tuple(names), values)


def _like(part: str) -> str:
    """Return the pattern of texts that contain a part."""
    return "%{}%".format(re.sub(r"([\\%_])", r"\\\1", part))


def _cut(name: str, value: object) -> object:
    return truncate_text(value, COLUMN_MAX[name]) if name in COLUMN_MAX else value


def _cut_pairs(tag: Tag) -> tuple[tuple[str, str | None], ...]:
    return tuple((key[:TAG_MAX], None if value is None else value[:TAG_MAX]) for key, value in tag.pairs)


def _compile_tags(tags: Iterable[Tag]) -> CompiledFilter:
    """Return the conditions of tags. A name has a letter for each pair of a tag: whether it has a value."""
    names = []
    values: dict[str, object] = {}
    for place, pairs in enumerate(sorted({_cut_pairs(tag) for tag in tags}, key=str)):
        kinds = "".join(_KEY if value is None else _PAIR for _, value in pairs)
        names.append(f"{_TAG}{kinds} {place}")
        for number, (key, value) in enumerate(pairs):
            values |= {f"tag_key_{place}_{number}": key, f"tag_value_{place}_{number}": value}
    return CompiledFilter(tuple(names), values)


def _compile_any(column: str, wanted: Iterable[str]) -> CompiledFilter:
    """Return the condition that a column has any of some values."""
    some = sorted({str(value) for value in wanted})
    if len(some) == 1:
        return CompiledFilter((column,), {column: some[0]})
    names = (f"{_ONE_OF}{len(some)} {column}",) if some else ()
    values: dict[str, object] = {f"{column}_{place}": value for place, value in enumerate(some)}
    return CompiledFilter(names, values)


def _compile_below(directory: str | None) -> CompiledFilter:
    """Return the condition that the workspace is a directory or below it."""
    if directory is None:
        return CompiledFilter((), {})
    directory = normalize_workspace(directory)
    below = find_below(directory)
    values: dict[str, object] = {
        "workspace_under": directory,
        "workspace_first": below.first,
        "workspace_end": below.end,
    }
    return CompiledFilter(("workspace_under",), values)


def _compile_active(since_us: int | None, until_us: int | None) -> CompiledFilter:
    """Return the condition that a conversation has an event in a span of time."""
    if since_us is None and until_us is None:
        return CompiledFilter((), {})
    values: dict[str, object] = {
        "active_first": -_ANY_QUARTER if since_us is None else since_us // QUARTER_US,
        "active_end": _ANY_QUARTER if until_us is None else until_us // QUARTER_US,
    }
    return CompiledFilter(("active",), values)


def shelf_name(shelves: Sequence[int]) -> str:
    """Return the name of the condition on `archived`, the first column of all database indexes for sorting."""
    return _ON_SHELVES + " ".join(map(str, shelves))


def find_shelves(name: str) -> tuple[int, ...]:
    """Return the values of `archived` in a condition that `shelf_name` named, or () for another condition."""
    return tuple(map(int, name.removeprefix(_ON_SHELVES).split())) if name.startswith(_ON_SHELVES) else ()


def clauses(names: Sequence[str], column: Column) -> list[ColumnElement[bool]]:
    """Return conditions that are checked row by row. `column` returns the columns to use."""
    return [_clause(name, column) for name in names if name != _FOLDED] + _unfolded(names, column)


def clauses_by_index(names: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return conditions for a statement that starts from the rows of a rare value or from few rows, or scans all."""
    if any(name.startswith(_RARE) for name in names):
        return _clauses_by_rare(names)
    return [_clause_by_few(name) for name in names if name != _FOLDED] + _unfolded(names, unindexed)


def find_counted(names: Sequence[str]) -> list[str]:
    """Return the conditions on a column of `COUNTED`, or [] if another condition matches few rows."""
    return [name for name in names if fields_of((name,)) <= {*COUNTED}] if FEW.isdisjoint(names) else []


def mark_rare(names: Sequence[str], rare: str) -> tuple[str, ...]:
    """Return the names with a mark on one of `find_counted`, from whose rows `clauses_by_index` is to start."""
    return tuple(f"{_RARE}{name}" if name == rare else name for name in names)


def _clauses_by_rare(names: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return conditions with which SQLite uses the database index of the column in the marked one, and no other."""
    shelves = [name for name in names if find_shelves(name)] or [shelf_name(ALL_SHELVES)]  # the index begins with it
    by_index = [*shelves, *(name for name in names if name.startswith(_RARE))]
    others = [name for name in names if name not in by_index and name != _FOLDED]
    found = [_clause(name, bare) for name in by_index] + [_clause(name, unindexed) for name in others]
    return found + _unfolded(names, unindexed)


def clauses_to_count(names: Iterable[str]) -> list[ColumnElement[bool]]:
    """Return conditions for a count: for a covering database index if possible, otherwise as in `clauses_by_index`."""
    names = tuple(names)
    more = columns_of(names) - {"archived"}
    return clauses(names, bare) if len(more) <= 1 and more <= {*COUNTED, *RANGED} else clauses_by_index(names)


def _clause_by_few(name: str) -> ColumnElement[bool]:
    if name.startswith(_TAG):
        return conversation.c.id.in_(_tagged(name))
    if name == "long title":
        return titled(conversation.c.id, conversation.c.title_key)
    return _clause(name, bare if name in FEW else unindexed)


def _clause(name: str, column: Column) -> ColumnElement[bool]:
    name = name.removeprefix(_RARE)
    shelves: list[ColumnElement[int]] = [literal_column(str(shelf)) for shelf in find_shelves(name)]
    if shelves:
        return column("archived") == shelves[0] if len(shelves) == 1 else column("archived").in_(shelves)
    if name.startswith(_ONE_OF):
        number, one = name.removeprefix(_ONE_OF).split()
        return column(one).in_([bindparam(f"{one}_{place}") for place in range(int(number))])
    if name.startswith(_TAG):
        return _tagged(name).where(conversation_tag.c.conversation == column("id")).exists()
    return _CLAUSES[name](column)


def _unfolded(names: Sequence[str], column: Column) -> list[ColumnElement[bool]]:
    """Return the condition that a row has no parent that has no parent itself and meets the other conditions."""
    if _FOLDED not in names:
        return []

    def of_parent(name: str) -> ColumnElement[Any]:
        return _parent.c[name]

    others = clauses([name for name in names if name != _FOLDED], of_parent)
    listed = select(_parent.c.id).where(_parent.c.uuid == column("parent"), _parent.c.parent.is_(None), *others)
    return [column("parent").is_(None) | ~listed.correlate_except(_parent).exists()]


def _tagged(name: str) -> Select[int]:
    """Return a SELECT of the keys of conversations that have a tag."""
    _, kinds, place = name.split()
    stored = conversation_tag.c
    pairs = [
        (stored.key == bindparam(f"tag_key_{place}_{number}"))
        & (true() if kind == _KEY else stored.value == bindparam(f"tag_value_{place}_{number}"))
        for number, kind in enumerate(kinds)
    ]
    return select(stored.conversation).where(or_(*pairs))


def fields_of(names: Iterable[str]) -> frozenset[str]:
    """Return the same as `columns_of`, and also the column of a condition that a column has any of some values."""
    plain = [name.removeprefix(_RARE) for name in names]
    return columns_of(name.rsplit(maxsplit=1)[-1] if name.startswith(_ONE_OF) else name for name in plain)


def columns_of(names: Iterable[str]) -> frozenset[str]:
    """Return the columns that these conditions use. A condition on anything else is returned by its own name."""
    return frozenset(
        "archived"
        if name.startswith(_ON_SHELVES)
        else name.removeprefix(_ONE_OF)
        if name.startswith(_ONE_OF)
        else _COLUMN_OF.get(name) or name.removeprefix("not ").removesuffix("_gte").removesuffix("_lt")
        for name in (one.removeprefix(_RARE) for one in names)
    )
