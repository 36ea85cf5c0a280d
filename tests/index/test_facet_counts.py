"""How facets are counted, on a database that was never analysed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import pytest

from app.index import facet_counts
from app.model.facets import FacetKind
from tests.index.plans import LISTED, plan


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (FacetKind.STATUS, "SEARCH conversation USING COVERING INDEX ix_conversation_status_updated_at (archived=?)"),
        (FacetKind.MODEL, "SEARCH conversation USING COVERING INDEX ix_conversation_model (archived=?)"),
        (FacetKind.WORKSPACE, "SEARCH conversation USING COVERING INDEX ix_conversation_workspace (archived=?)"),
        (FacetKind.AGENT_KIND, "SEARCH conversation USING COVERING INDEX ix_conversation_agent_kind (archived=?)"),
        (FacetKind.DAY, "SEARCH conversation USING COVERING INDEX ix_conversation_created_at (archived=?)"),
    ],
)
def test_a_facet_of_all_is_in_one_index_and_one_under_filters_reads_the_table_once(
    database: sqlite3.Connection, kind: FacetKind, step: str
) -> None:
    assert of_facets(database, [kind], LISTED) == [step]
    assert of_facets(database, [kind], ("top level", *LISTED)) == ["SCAN conversation"]


def test_all_facets_at_once_ask_the_filter_once(database: sqlite3.Connection) -> None:
    assert of_facets(database, list(FacetKind), ("top level", "workspace", *LISTED)) == ["SCAN conversation"]
    sql = facet_counts.facets_sql(tuple((kind, False) for kind in FacetKind), ("q", *LISTED))
    assert len([step for step in plan(database, sql) if "message_fts" in step]) == 1


def test_tags_of_all_are_counted_without_a_look_at_each_conversation(database: sqlite3.Connection) -> None:
    for keyed in (False, True):
        steps = plan(database, facet_counts.facets_sql(((FacetKind.TAG, keyed),), LISTED))
        assert not [step for step in steps if "SEARCH conversation USING INTEGER PRIMARY KEY" in step]


def of_facets(database: sqlite3.Connection, kinds: Sequence[FacetKind], names: tuple[str, ...]) -> list[str]:
    steps = plan(database, facet_counts.facets_sql(tuple((kind, False) for kind in kinds), names))
    return [step for step in steps if re.match(r"(SCAN|SEARCH) conversation\b", step)]
