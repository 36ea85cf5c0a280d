"""The docs' list of metrics, board and alerts know the metrics that a real server has, alone and with workers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.deploy.boards import Known, find_unknown, list_alert_queries, list_board_queries, read_known, watched
from tests.documents import PAGES

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=[(), ("--workers", "2")], ids=["1", "2"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Known]]:
    """The metrics of a real server."""
    with watched(tmp_path_factory.mktemp("watched"), *request.param) as url:
        yield read_known(url)


def list_told() -> dict[str, Known]:
    """Return the metrics in the table of the docs."""
    told = {}
    for names, kind in re.findall(r"^\| (`.*?`) \| (\w+) \|", PAGES["docs/metrics.md"], re.MULTILINE):
        for name, _, labels in re.findall(r"`(\w+)(\{([\w,]+)\})?`", names):
            told[name] = Known(kind, frozenset(filter(None, labels.split(","))))
    return told


def test_the_docs_list_exactly_the_metrics_that_there_are(known: dict[str, Known]) -> None:
    told = list_told()
    if "convstore_free_inodes" not in known:  # the disk of this machine has no fixed number of inodes
        del told["convstore_free_inodes"]
    assert known == told


def test_each_query_of_the_board_and_the_alerts_asks_for_what_there_is(known: dict[str, Known]) -> None:
    known = {"convstore_free_inodes": Known("gauge", frozenset({"place"}))} | known
    queries = [*list_board_queries(), *list_alert_queries()]
    assert len(queries) > 50
    assert {query: unknown for query in queries if (unknown := find_unknown(query, known))} == {}


def test_a_query_for_what_there_is_not_is_found() -> None:
    known = {"convstore_a_total": Known("counter", frozenset({"x"})), "convstore_b": Known("histogram", frozenset())}
    assert find_unknown('sum by (x, y) (rate(convstore_a_total{x="1", z=~".*"}[1m]))', known) == [
        "convstore_a_total{z}",
        "by y",
    ]
    assert find_unknown("rate(convstore_b_bucket[1m]) / convstore_c / convstore_a_total_sum", known) == [
        "convstore_c",
        "convstore_a_total_sum",
    ]
