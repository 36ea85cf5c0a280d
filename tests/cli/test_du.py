"""du."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, make_id
from tests.cli.conftest import Command


@pytest.fixture
def store(root: Path) -> Path:
    for number, (workspace, updated) in enumerate([("/a", "2025-10-31"), ("/b", "2025-11-01"), ("/b", "2025-11-30")]):
        make_conversation(
            root,
            number + 1,
            meta={
                "created_at": "2025-10-01T12:00:00Z",
                "updated_at": f"{updated}T23:59:59Z",
                "title": f"Number {number}",
            },
            events=[make_event(place, timestamp="2025-10-01T12:00:00") for place in range(2)],
            state={"workspace": {"kind": "LocalWorkspace", "working_dir": workspace}},
        )
    big = root / make_id(1) / "observations"
    big.mkdir()
    (big / "output.txt").write_bytes(bytes(100_000))
    return root


def test_it_adds_up_to_what_du_says(store: Path, convstore: Command) -> None:
    convstore("index", "sync", "--store", store)
    told = convstore("du", "--store", store, "--no-sync", "--json").json
    inodes = subprocess.run(["du", "-s", "--inodes", store], capture_output=True, text=True, check=True).stdout
    parts = [told["conversations"]["usage"], told["trash"], told["index"], told["other"]]
    assert sum(part["inodes"] for part in parts[:1]) == 3 * 6 + 2
    assert abs(sum(part["inodes"] for part in parts) + 1 - int(inodes.split()[0])) <= 2  # logs of SQLite come and go
    assert told["shares"][0]["name"] == "00000000-0000-4000-8000-000000000001  Number 0"
    assert told["shares"][0]["usage"]["size_bytes"] > 100_000


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("workspace", {"/a": 1, "/b": 2}),
        ("month", {"2025-10": 1, "2025-11": 2}),
        ("status", {"finished": 3}),
    ],
)
def test_it_is_added_up_by_what_is_asked_for(store: Path, convstore: Command, by: str, names: dict[str, int]) -> None:
    told = convstore("du", "--by", by, "--store", store, "--json").json
    assert {share["name"]: share["conversations"] for share in told["shares"]} == names
    assert sum(share["usage"]["disk_bytes"] for share in told["shares"]) == told["conversations"]["usage"]["disk_bytes"]


def test_a_file_with_several_names_counts_once_and_a_link_for_itself(store: Path, convstore: Command) -> None:
    before = convstore("du", "--store", store, "--json").json["conversations"]["usage"]
    os.link(store / make_id(1) / "observations" / "output.txt", store / make_id(2) / "output.txt")
    (store / make_id(3) / "link").symlink_to(store / make_id(1))
    after = convstore("du", "--store", store, "--json").json["conversations"]["usage"]
    assert after["inodes"] == before["inodes"] + 1
    assert after["size_bytes"] == before["size_bytes"] + len(str(store / make_id(1)))


def test_trash_and_strangers_are_told_apart(store: Path, convstore: Command) -> None:
    (store / ".trash").mkdir()
    (store / make_id(2)).rename(store / ".trash" / f"{make_id(2)}.1.00000000")
    (store / "notes").mkdir()
    told = convstore("du", "--store", store, "--json").json
    assert (told["conversations"]["conversations"], told["trash"]["inodes"], told["other"]["inodes"]) == (2, 7, 1)


def test_the_largest_are_shown_first_and_the_rest_is_counted(store: Path, convstore: Command) -> None:
    lines = convstore("du", "--limit", "1", "--store", store).out.splitlines()
    assert lines[0].split() == ["ON", "DISK", "SIZE", "INODES", "CONVERSATIONS", "CONVERSATION"]
    assert lines[1].split()[-2:] == ["Number", "0"]
    assert lines[2].strip() == "and 2 more; --limit 0 shows all"
    assert [line.split()[-1] for line in lines[4:]] == ["conversations", "trash", "index", "other", "all"]
