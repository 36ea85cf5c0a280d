"""Facets: the values by which conversations can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.errors import InvalidFacet

FACETS_MAX = 20
"""The most facets that are counted at once."""


class FacetKind(StrEnum):
    """What a facet's values are: `tag` are the keys of tags, `day` and `month` those of creation, in UTC."""

    STATUS = "status"
    MODEL = "model"
    WORKSPACE = "workspace"
    AGENT_KIND = "agent_kind"
    TAG = "tag"
    DAY = "day"
    MONTH = "month"


class Facet(NamedTuple):
    """What to count by; of the kind `tag` with a key: by the values of that tag."""

    kind: FacetKind
    tag_key: str | None = None

    @property
    def name(self) -> str:
        """As it is asked for: `status`, or `tag:area`."""
        return self.kind.value if self.tag_key is None else f"{self.kind.value}:{self.tag_key}"


class FacetCounts(NamedTuple):
    """The commonest values with their counts, biggest first; how many have no value; and how many have another one.

    Unless the facet is `tag`, of which one conversation may have several, all of these together are all conversations.
    """

    values: list[tuple[str, int]]
    null: int
    other: int


@dataclass(frozen=True, slots=True)
class Facets:
    """How many conversations there are under a filter, and how many by each facet's values."""

    count: int
    by: dict[str, FacetCounts]

    def as_json(self) -> dict[str, object]:
        """Return what the API answers."""
        return {
            "count": self.count,
            "facets": {
                name: {
                    "values": [{"value": value, "count": number} for value, number in counts.values],
                    "null": counts.null,
                    "other": counts.other,
                }
                for name, counts in self.by.items()
            },
        }


def parse_facets(text: str) -> list[Facet]:
    """Return the facets of a text like `status,model,tag:area`, each once.

    Raises:
        InvalidFacet: one of them is none, or they are too many.
    """
    facets = list(dict.fromkeys(_parse_facet(one) for one in text.split(",")))
    if len(facets) > FACETS_MAX:
        raise InvalidFacet(f"{len(facets)} facets were asked for; at most {FACETS_MAX} are counted at once")
    return facets


def _parse_facet(text: str) -> Facet:
    kind, colon, key = text.strip().partition(":")
    if kind in list(FacetKind) and not colon:
        return Facet(FacetKind(kind))
    if kind == FacetKind.TAG and key:
        return Facet(FacetKind.TAG, key[:256])
    raise InvalidFacet(f"{text[:64]!r} is nothing to count by; there are {', '.join(FacetKind)}, and tag:key")
