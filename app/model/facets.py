"""Facets: the values by which conversations are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..errors import InvalidFacet

FACETS_MAX = 20
"""The maximum number of facets in one request."""


class FacetKind(StrEnum):
    """The kinds of facets. `tag` counts by tag key; `day` and `month` count by creation time in UTC."""

    STATUS = "status"
    MODEL = "model"
    WORKSPACE = "workspace"
    AGENT_KIND = "agent_kind"
    TAG = "tag"
    DAY = "day"
    MONTH = "month"


class Facet(NamedTuple):
    """A field to count by. With kind `tag` and a `key`, conversations are counted by the value of that tag."""

    kind: FacetKind
    tag_key: str | None = None

    @property
    def name(self) -> str:
        """The name in requests and answers: `status`, or `tag:area`."""
        return self.kind.value if self.tag_key is None else f"{self.kind.value}:{self.tag_key}"


class Amounts(NamedTuple):
    """What some conversations cost, and their input and output tokens."""

    cost: float = 0.0
    tokens: int = 0

    def as_json(self, names: Sequence[str]) -> dict[str, float]:
        """Return the amounts with these names."""
        found = {"cost": round(self.cost, 6), "tokens": self.tokens}
        return {name: found[name] for name in names}


class FacetCounts(NamedTuple):
    """The most frequent values with their counts, most frequent first.

    `null` counts conversations without a value, `other` those with a value that is not listed. The counts add up to all
    conversations, except for `tag`, because one conversation may have several tags. `sums` has the amounts of each
    value, if they were asked for.
    """

    values: list[tuple[str, int]]
    null: int
    other: int
    sums: Mapping[str, Amounts] | None = None


@dataclass(frozen=True, slots=True)
class Facets:
    """The number of conversations that match a filter, and their counts by each facet."""

    count: int
    by: dict[str, FacetCounts]

    def as_json(self, amounts: Sequence[str] = ()) -> dict[str, object]:
        """Return the JSON that the API answers; with the `amounts` of each value, "cost" or "tokens"."""
        return {
            "count": self.count,
            "facets": {
                name: {
                    "values": [
                        {"value": value, "count": number} | (counts.sums or {}).get(value, Amounts()).as_json(amounts)
                        for value, number in counts.values
                    ],
                    "null": counts.null,
                    "other": counts.other,
                }
                for name, counts in self.by.items()
            },
        }


def parse_facets(text: str) -> list[Facet]:
    """Return the facets in a text like `status,model,tag:area`, without duplicates.

    Raises:
        InvalidFacet: a name is not a facet, or there are too many.
    """
    facets = list(dict.fromkeys(_parse_facet(one) for one in text.split(",")))
    if len(facets) > FACETS_MAX:
        raise InvalidFacet(f"{len(facets)} facets were requested; at most {FACETS_MAX} can be counted at once")
    return facets


def _parse_facet(text: str) -> Facet:
    kind, colon, key = text.strip().partition(":")
    if kind in list(FacetKind) and not colon:
        return Facet(FacetKind(kind))
    if kind == FacetKind.TAG and key:
        return Facet(FacetKind.TAG, key[:256])
    raise InvalidFacet(f"{text[:64]!r} is not a facet; use one of {', '.join(FacetKind)}, or tag:key")
