"""All commands: wrong use is told in a line, and nothing that was asked for is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import details_in, make_conversation, make_foreign, make_id
from tests.cli.conftest import Command

ONE = make_id(1)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("export", ONE, "--resume"), "--resume needs --to"),
        (
            ("export", ONE, "-o", "x.jsonl", "--format", "zip"),
            "x.jsonl has the ending of jsonl, but --format asks for zip",
        ),
        (
            ("export", ONE, "-o", "x.json"),
            "x.json does not have the ending of an export format; end it with .zip, .jsonl, .md or .html",
        ),
        (("list", "--min-cost", "nan"), "--min-cost nan is not a cost"),
        (("count", "--max-cost", "inf"), "--max-cost inf is not a cost"),
        (("list", "--tag", ""), "--tag '' is not a tag; write KEY, KEY:VALUE or KEY=VALUE"),
        (("count", "--tag", "An area"), "--tag 'An area' is not a tag"),
        (("prune", "--older-than", "1d", "--keep-tag", "Pinned", "--yes"), "--keep-tag 'Pinned' is not a tag"),
        (("prune", "--older-than", "1d", "--title", "", "--yes"), "--title '' is blank and excludes nothing"),
        (("export", "--all", "--q", " ", "-o", "x.zip"), "--q ' ' is blank and excludes nothing; give words"),
        (("count", "--title", "\u0301"), "is blank and excludes nothing"),
        (("serve", "--workers", "0"), "convstore: --workers: Input should be greater than or equal to 1"),
        (("serve", "--port", "70000"), "convstore: --port: Input should be less than or equal to 65535"),
        (("serve", "/nowhere"), "DIR and --store mean the same"),
    ],
    ids=str,
)
def test_wrong_use_is_told_in_a_line(root: Path, convstore: Command, command: tuple[str, ...], told: str) -> None:
    make_conversation(root)
    ran = convstore(*command, "--store", root)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert told in ran.err


def test_no_command_touches_what_is_no_conversation(root: Path, convstore: Command) -> None:
    make_conversation(root, 2)
    make_foreign(root / ONE, "older OpenHands")
    before = details_in(root / ONE)
    for command in ("delete --permanent --yes --force", "delete --dry-run", "repair", "pin", "fork", "restore"):
        assert convstore(*command.split(), ONE, "--store", root).code == 2, command
    for command in ("index sync", "prune --older-than 1m --yes", "trash empty --yes"):
        assert convstore(*command.split(), "--store", root).code == 0, command
    assert details_in(root / ONE) == before


def test_a_home_that_does_not_exist_is_told_in_a_line(convstore: Command) -> None:
    ran = convstore("list", "--store", "~nobody-of-this-name/x")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "'~nobody-of-this-name/x' begins with the home directory of a user that does not exist" in ran.err
