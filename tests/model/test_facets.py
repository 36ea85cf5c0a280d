"""What conversations can be counted by."""

from __future__ import annotations

import pytest

from app.errors import InvalidFacet
from app.model.facets import FACETS_MAX, Facet, FacetCounts, FacetKind, Facets, parse_facets


def test_facets_are_read_each_once() -> None:
    assert parse_facets("status, tag:area,status,tag") == [
        Facet(FacetKind.STATUS), Facet(FacetKind.TAG, "area"), Facet(FacetKind.TAG),
    ]  # fmt: skip
    assert [facet.name for facet in parse_facets("day,tag:area")] == ["day", "tag:area"]


@pytest.mark.parametrize("text", ["", "status,", "colour", "status:idle", "tag:", "TAG"])
def test_what_nothing_can_be_counted_by_is_refused(text: str) -> None:
    with pytest.raises(InvalidFacet, match="is not a facet; use one of status, model"):
        parse_facets(text)


def test_too_many_facets_are_refused() -> None:
    names = [f"tag:{number}" for number in range(FACETS_MAX + 1)]
    assert len(parse_facets(",".join(names[1:]))) == FACETS_MAX
    with pytest.raises(InvalidFacet, match="21 facets were requested; at most 20"):
        parse_facets(",".join(names))


def test_counts_are_answered_in_their_order() -> None:
    facets = Facets(4, {"status": FacetCounts([("idle", 2), ("error", 1)], 0, 1)})
    assert facets.as_json() == {
        "count": 4,
        "facets": {
            "status": {
                "values": [{"value": "idle", "count": 2}, {"value": "error", "count": 1}],
                "null": 0,
                "other": 1,
            }
        },
    }
