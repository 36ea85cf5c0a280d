"""list, count and show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, make_id, write_event
from tests.cli.conftest import Command


def test_list_shows_the_newest_first(corpus: Path, convstore: Command) -> None:
    ran = convstore("list", "--store", corpus, "--limit", 5)
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0].split() == ["ID", "STATUS", "UPDATED", "EVENTS", "COST", "TITLE"]
    assert len(lines) == 7
    assert lines[-1] == "5 of 30 conversations"
    assert [line[20:36] for line in lines[1:6]] == sorted((line[20:36] for line in lines[1:6]), reverse=True)


def test_list_as_json_is_the_body_of_the_api(corpus: Path, convstore: Command) -> None:
    first = convstore("list", "--store", corpus, "--limit", 20, "--json").json
    rest = convstore("list", "--store", corpus, "--limit", 20, "--page", first["next_page_id"], "--json").json
    everything = convstore("list", "--store", corpus, "--limit", 0, "--json").json
    assert set(first) == {"items", "next_page_id"}
    assert first["items"] + rest["items"] == everything["items"]
    assert (rest["next_page_id"], len(everything["items"])) == (None, 30)


def test_list_and_count_agree_under_a_filter(corpus: Path, convstore: Command) -> None:
    listed = convstore("list", "--store", corpus, "--status", "running", "--json").json["items"]
    counted = convstore("count", "--store", corpus, "--status", "running").out
    assert {item["execution_status"] for item in listed} == {"running"}
    assert int(counted) == len(listed) > 0
    assert convstore("count", "--store", corpus, "--status", "running", "--json").json == {"count": len(listed)}


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
    ("--workspace", "/nowhere"),
    ("--parent", make_id(1), "--forked-from", make_id(2)),
]


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
    assert all(0 < number < 30 for number in numbers[:8])


def test_count_by_shows_the_biggest_first_and_names_the_rest(corpus: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", corpus, "--by", "status,tag:area", "--limit", 1)
    lines = [line.split() for line in ran.out.splitlines()]
    assert (lines[0], lines[1][1], lines[2][1]) == (["COUNT", "STATUS"], "finished", "(others)")
    assert (lines[4], lines[6][1], lines[-1]) == (["COUNT", "TAG:AREA"], "(none)", ["30", "conversations"])


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--by", "colour", "'colour' is nothing to count by"),
        ("--since", "yesterday", "--since 'yesterday' is no time"),
        ("--parent", "x", "'x' is no conversation id"),
    ],
)
def test_a_filter_that_says_nothing_is_refused(
    root: Path, convstore: Command, option: str, value: str, told: str
) -> None:
    ran = convstore("count", "--store", root, option, value)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_list_notices_what_other_programs_did_unless_told_not_to(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    assert convstore("count", "--store", root).out == "1\n"
    make_conversation(root, 2)
    assert convstore("count", "--store", root, "--no-sync").out == "1\n"
    assert convstore("count", "--store", root).out == "2\n"


def test_a_title_cannot_steer_the_terminal(root: Path, convstore: Command) -> None:
    make_conversation(root, 1, meta={"title": "red \x1b[31m alert\r\nsecond \u202e line"})
    for ran in (convstore("list", "--store", root), convstore("show", make_id(1), "--store", root)):
        assert "red �[31m alert" in ran.out
        assert not {"\x1b", "\r", "\u202e"} & set(ran.out)


def test_show_tells_who_said_what(corpus: Path, convstore: Command) -> None:
    ran = convstore("show", "0ab974", "--store", corpus)
    assert ran.code == 0
    for part in (
        "Ajouter la pagination à l'api scheduler",
        "status     finished",
        "cost       1.6134 (24965 tokens)",
        "user  2026-11-23T21:44:56",
        "agent uses terminal",
        "  command: ls -la && echo 'scheduler 24'",
        "terminal answers",
        "  (exit code 0)",
        "agent uses finish",
        "environment Condensation",
    ):
        assert part in ran.out


def test_show_as_json_has_every_event_as_its_file_has_it(corpus: Path, convstore: Command) -> None:
    shown = convstore("show", "747e6bd8fce442f0b00c3c0a733a1a53", "--store", corpus, "--json")
    if shown.code:
        pytest.fail(shown.err)
    files = sorted((corpus / "747e6bd8fce442f0b00c3c0a733a1a53" / "events").glob("event-*"))
    assert shown.json["events"] == [json.loads(path.read_text()) for path in files]
    assert shown.json["conversation"]["title"] == "Profile the gateway startup"
    assert shown.json["unreadable"] == []


def test_show_can_be_cut_to_the_last_events(root: Path, convstore: Command) -> None:
    make_conversation(root, 1, events=250)
    shown = convstore("show", make_id(1), "--store", root, "--last", 120, "--json").json["events"]
    assert [event["id"] for event in shown] == [make_event(i)["id"] for i in range(130, 250)]


def test_show_cuts_long_texts_unless_told_not_to(root: Path, convstore: Command) -> None:
    path = make_conversation(root, 1, events=0)
    text = "\n".join(f"line {i}" for i in range(30))
    write_event(path, 0, make_event(0, llm_message={"role": "user", "content": [{"type": "text", "text": text}]}))
    cut, whole = (convstore("show", make_id(1), "--store", root, *more).out for more in ((), ("--full",)))
    assert "line 29" not in cut
    assert "… 18 more lines (--full shows them)" in cut
    assert "line 29" in whole


def test_show_says_what_it_cannot_show(root: Path, convstore: Command) -> None:
    path = make_conversation(root, 1, events=3)
    next((path / "events").glob("event-00001-*")).write_bytes(b"")
    (path / "base_state.json").unlink()
    ran = convstore("show", make_id(1), "--store", root)
    assert "event 1 cannot be shown: the file is empty" in ran.out
    assert "unreadable base_state.json: missing" in ran.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zz", "'zz' is no conversation id"),
        ("ffff", "no conversation's id begins with 'ffff'"),
        ("0000", "several ids begin with '0000'"),
        (make_id(9), "no conversation has the id 00000000-0000-4000-8000-000000000009"),
    ],
)
def test_an_id_that_leads_nowhere_is_explained(text: str, message: str, root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2)
    convstore("index", "sync", "--store", root)
    ran = convstore("show", text, "--store", root)
    assert ran.code == 2
    assert message in ran.err


def test_a_conversation_that_was_removed_meanwhile_is_not_found(root: Path, convstore: Command) -> None:
    shutil.rmtree(make_conversation(root, 1))
    assert convstore("show", make_id(1), "--store", root).code == 2
