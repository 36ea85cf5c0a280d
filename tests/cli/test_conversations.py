"""`convstore list`, `count` and `show`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, make_id, make_message_event
from tests.cli.conftest import Command
from tests.web.logs import EVERY_KIND


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


def test_a_list_of_what_is_unreadable_says_why(root: Path, convstore: Command) -> None:
    (make_conversation(root) / "base_state.json").write_text("")
    assert "A title; base_state.json: the file is empty\n" in convstore("list", "--unreadable", "--store", root).out


def test_without_a_title_the_preview_is_shown_in_its_place(root: Path, convstore: Command) -> None:
    for number, title in ((1, None), (2, "A title")):
        make_conversation(root, number, events=[make_message_event(0, "Fix\x1b[31m the\nbuild")], meta={"title": title})
    shown = "Fix\ufffd[31m the build"
    lines = convstore("list", "--store", root, "--sort", "TITLE").out.splitlines()
    assert [lines[1].endswith(f"  {shown}"), lines[2].endswith("  A title")] == [True, True]
    assert convstore("show", make_id(1), "--store", root).out.startswith(f"{shown}\nid ")
    assert f"\npreview    {shown}\n" in convstore("show", make_id(2), "--store", root).out
    assert convstore("search", "build", "--store", root).out.count(f"00000000  {shown}  user in event 0") == 1
    hits = convstore("search", "build", "--store", root, "--json").json["items"]
    assert {hit["preview"] for hit in hits} == {"Fix\x1b[31m the build"}
    assert f"  {shown}\n" in convstore("prune", "--older-than", "1m", "--dry-run", "--store", root).out
    assert f"{make_id(1)[:8]}-0000-4000-8000-000000000001  {shown}" in convstore("du", "--store", root).out


def test_count_by_shows_the_biggest_first_and_names_the_rest(corpus: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", corpus, "--by", "status,tag:area", "--limit", 1)
    lines = [line.split() for line in ran.out.splitlines()]
    assert (lines[0], lines[1][1], lines[2][1]) == (["COUNT", "STATUS"], "finished", "(others)")
    assert (lines[4], lines[6][1], lines[-1]) == (["COUNT", "TAG:AREA"], "(none)", ["30", "conversations"])


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


def test_show_outline_has_the_turns_with_their_steps_and_errors(root: Path, convstore: Command) -> None:
    make_conversation(root, 1, meta={"title": "Outlined"}, events=EVERY_KIND)
    shown = convstore("show", make_id(1), "--outline", "--store", root)
    assert shown.out.startswith("Outlined\nid ")
    lines = [line.split(None, 1) for line in shown.out.partition("EVENT  WHAT\n")[2].splitlines()]
    assert lines[0] == ["1", "Please **fix** it"]
    assert ["8", "browser: tool call failed"] in lines
    assert lines[-2:] == [["15", "Go on."], ["16", "Run failed"]]
    outline = convstore("show", make_id(1), "--outline", "--json", "--store", root).json
    assert (outline["total"], [turn["seq"] for turn in outline["turns"]]) == (len(EVERY_KIND), [1, 15])


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


def test_show_says_what_it_cannot_show(root: Path, convstore: Command) -> None:
    path = make_conversation(root, 1, events=3)
    next((path / "events").glob("event-00001-*")).write_bytes(b"")
    (path / "base_state.json").unlink()
    ran = convstore("show", make_id(1), "--store", root)
    assert "event 1 cannot be shown: the file is empty" in ran.out
    assert "unreadable base_state.json: missing" in ran.out


def test_a_conversation_that_was_removed_meanwhile_is_not_found(root: Path, convstore: Command) -> None:
    shutil.rmtree(make_conversation(root, 1))
    assert convstore("show", make_id(1), "--store", root).code == 2
