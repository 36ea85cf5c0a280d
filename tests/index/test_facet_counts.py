"""How facets are counted, on a database that was never analysed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import pytest

from app.index import facet_counts
from app.model.facets import FacetKind
from tests.index.plans import LISTED, plan


@pytest.mark.parametrize("kind", FacetKind)
def test_a_facet_of_all_reads_no_conversation_and_one_under_filters_all_once(
    database: sqlite3.Connection, kind: FacetKind
) -> None:
    assert of_facets(database, [kind], LISTED) == []
    assert of_facets(database, [kind], ("top level", *LISTED)) == ["SCAN conversation"]


def test_all_facets_at_once_ask_the_filter_once(database: sqlite3.Connection) -> None:
    assert of_facets(database, list(FacetKind), ("top level", "workspace", *LISTED)) == ["SCAN conversation"]
    sql = facet_counts.facets_sql(tuple((kind, False) for kind in FacetKind), ("q", *LISTED))
    assert len([step for step in plan(database, sql) if "message_fts" in step]) == 1


def of_facets(database: sqlite3.Connection, kinds: Sequence[FacetKind], names: tuple[str, ...]) -> list[str]:
    steps = plan(database, facet_counts.facets_sql(tuple((kind, False) for kind in kinds), names))
    return [step for step in steps if re.match(r"(SCAN|SEARCH) conversation\b", step)]
