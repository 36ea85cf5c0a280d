"""`convstore search`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, make_id, make_message_event
from tests.cli.conftest import Command


def test_search_shows_hits_and_narrows_them_by_filters(root: Path, convstore: Command) -> None:
    said = {"llm_message": {"role": "user", "content": [{"type": "text", "text": "the \x1b[31m lease\nrenewal"}]}}
    make_conversation(root, 1, events=[make_event(0, **said)], meta={"title": "On locks", "tags": {"area": "billing"}})
    make_conversation(root, 2, events=0, meta={"title": "Lease"}, state={"execution_status": "error"})
    ran = convstore("search", "lease", "--store", root)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "00000000  Lease  title  2026-10-01 12:00",
        "  Lease",
        "00000000  On locks  user in event 0  2026-10-01 12:00",
        "  the �[31m lease renewal",
        "2 hits",
    ]
    assert convstore("search", "lease", "--store", root, "--status", "error").out.splitlines()[-1] == "1 hit"
    assert convstore("search", "lease", "renewal", "--store", root, "--since", "2100-01-01").out.startswith("0 hits;")
    assert (
        convstore("search", '"renewal lease"', "--store", root, "--limit", 1).out.splitlines()[-1].startswith("0 hits;")
    )


def test_search_as_json_is_the_body_of_the_api(corpus: Path, convstore: Command) -> None:
    first = convstore("search", "code", "--store", corpus, "--limit", 3, "--json").json
    rest = convstore("search", "code", "--store", corpus, "--page", first["next_page_id"], "--json").json
    assert set(first) == {"items", "next_page_id", "truncated", "searched", "text_indexed"}
    assert len(first["items"]) == 3
    assert not [hit for hit in first["items"] if hit in rest["items"]]


def test_search_in_one_conversation_goes_by_its_log(root: Path, convstore: Command) -> None:
    make_conversation(root, 1, events=[make_message_event(seq, f"lease {seq}") for seq in range(3)])
    make_conversation(root, 2, events=[make_message_event(0, "lease")])
    ran = convstore("search", "lease", "--in", make_id(1), "--limit", 2, "--store", root)
    assert [line.split("  ")[2] for line in ran.out.splitlines()[:4:2]] == ["user in event 0", "user in event 1"]
    assert ran.out.splitlines()[-1] == "2 hits of 3; there are more (--page, or --limit)"
    wrong = convstore("search", "lease", "--in", make_id(1), "--status", "error", "--store", root)
    assert wrong.code == 2
    assert "leave out the filters" in wrong.err


def test_without_a_hit_it_says_which_texts_were_searched(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = {"kind": "TerminalAction", "command": "ls zebra", "note": "giraffe"}
    make_conversation(root, events=[make_event(0, kind="ActionEvent", source="agent", thought=[], action=action)])

    def end_of(*words: str) -> str:
        return convstore("search", *words, "--store", root).out.splitlines()[-1]

    assert end_of("zebra") == (
        "0 hits; searched: titles, what was said; "
        "not searched: commands, paths and errors of tools, input and output of tools (--look-in all)"
    )
    assert end_of("zebra", "--in-tools") == end_of("zebra", "--look-in", "tools") == "1 hit"
    assert convstore("count", "--q", "zebra", "--look-in", "all", "--store", root).out.strip() == "1"
    assert end_of("giraffe", "--in-tools") == (
        "0 hits; searched: titles, what was said, commands, paths and errors of tools; "
        "not searched: input and output of tools (CONVSTORE_SEARCH_TOOLS)"
    )
    assert end_of("zebra", "--in", make_id(1), "--in-tools") == "1 hit"
    monkeypatch.setenv("CONVSTORE_SEARCH_TOOLS", "true")
    assert end_of("giraffe", "--in-tools") == "1 hit"
    assert end_of("elephant", "--in-tools") == (
        "0 hits; searched: titles, what was said, commands, paths and errors of tools, input and output of tools"
    )
