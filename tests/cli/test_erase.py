"""`convstore erase`."""

from __future__ import annotations

from pathlib import Path

from app.files.layout import EVENTS
from tests.builders import make_conversation, make_id, make_message_event
from tests.cli.conftest import Command

SAID = "a sentence that is to vanish from the disk"


def test_conversations_are_erased_by_id_filter_or_from_the_trash(root: Path, convstore: Command) -> None:
    for number in range(1, 5):
        make_conversation(root, number, events=[make_message_event(0, f"{SAID} {number}")])
    convstore("delete", make_id(2), "--store", root)
    shown = convstore("erase", make_id(1), make_id(2), "--store", root, "--dry-run")
    assert (shown.code, shown.out) == (0, "2 conversations would be erased\n")
    refused = convstore("erase", make_id(1), "--store", root)
    assert (refused.code, "give --yes" in refused.err) == (2, True)
    ran = convstore("erase", make_id(1), make_id(2), "--store", root, "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("2 conversations erased; searched for ")
    ran = convstore("erase", "--q", "vanish", "--store", root, "--yes", "--json")
    assert (ran.code, len(ran.json["ids"]), ran.json["still_in"], ran.json["log_empty"]) == (0, 2, [], True)
    assert convstore("count", root, "--archived", "any").out == "0\n"


def test_what_is_left_elsewhere_is_named_and_the_exit_code_is_1(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root, 1, events=[make_message_event(0, SAID)])
    make_conversation(root, 2)
    copy = tmp_path / "copy"
    copy.write_text(f"text: {SAID}")
    event = make_message_event(0)["id"]
    ran = convstore("erase", "--event", make_id(1), event, "--search", copy, "--store", root, "--yes")
    assert (ran.code, ran.err) == (1, f"still in {copy}\n")
    assert ran.out.startswith(f"event {event} of ")
    assert SAID not in next((root / make_id(1) / EVENTS).glob("*.json")).read_text()


def test_without_a_choice_or_with_two_nothing_is_done(root: Path, convstore: Command) -> None:
    make_conversation(root)
    for given in ([], [make_id(1), "--status", "idle"], ["--event", make_id(1), "x", "--status", "idle"]):
        ran = convstore("erase", *given, "--store", root, "--yes")
        assert (ran.code, "name conversations by ids or by filters" in ran.err) == (2, True)
