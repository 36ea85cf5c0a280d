"""The filters of conversations as options."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import make_id
from tests.cli.conftest import Command

FILTERS = [
    ("--status", "running", "--status", "idle"),
    ("--title", "TOKENIZER"),
    ("--tag", "area"),
    ("--tag", "area:ledger", "--tag", "team"),
    ("--model", "openai/gpt-5.1", "--top-level"),
    ("--agent-kind", "Agent", "--since", "2026-08-01", "--before", "2026-09-01T00:00:00Z"),
    ("--created-since", "2026-08-01", "--created-before", "2026-10-01", "--active-since", "2026-01-01"),
    (
        "--min-cost",
        "0.5",
        "--max-cost",
        "2",
        "--min-events",
        "3",
        "--max-events",
        "20",
        "--active-before",
        "2099-01-01",
    ),
    ("--archived", "any", "--readable", "--free", "--children"),
    ("--events-since", "2026-11-23T21:45:00Z", "--events-before", "2026-11-24T03:30:00+05:30"),
    ("--workspace-under", "/home/dev/mobile-i8o161e0/"),
    ("--workspace", "/nowhere", "--workspace", "/else", "--orphaned"),
    ("--parent", make_id(1), "--forked-from", make_id(2)),
]


@pytest.mark.long
def test_list_count_and_a_count_by_status_agree_under_every_filter(corpus: Path, convstore: Command) -> None:
    numbers = []
    for filters in FILTERS:
        listed = convstore("list", "--store", corpus, *filters, "--limit", 0, "--json").json["items"]
        counted = convstore("count", "--store", corpus, *filters, "--json").json["count"]
        by = convstore("count", "--store", corpus, *filters, "--by", "status", "--json").json
        sums = sum(one["count"] for one in by["facets"]["status"]["values"])
        assert (counted, by["count"], sums) == (len(listed),) * 3
        numbers.append(counted)
    assert numbers[-2:] == [0, 0]
    assert all(0 < number < 30 for number in numbers[:10])


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--by", "colour", "'colour' is not a facet"),
        ("--since", "yesterday", "--since 'yesterday' is not a time"),
        ("--events-since", "2026-01-01T10:01", "is no full quarter of an hour"),
        ("--parent", "x", "'x' is not a conversation id"),
    ],
)
def test_a_filter_that_says_nothing_is_refused(
    root: Path, convstore: Command, option: str, value: str, told: str
) -> None:
    ran = convstore("count", "--store", root, option, value)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_list_and_count_take_a_question(corpus: Path, convstore: Command) -> None:
    listed = convstore("list", "--store", corpus, "--q", "lease", "--sort", "RELEVANCE", "--json").json["items"]
    assert "lease" in listed[0]["title"]
    assert convstore("count", "--store", corpus, "--q", "lease").out == f"{len(listed)}\n"
    assert make_id(1) not in {item["id"] for item in listed}
