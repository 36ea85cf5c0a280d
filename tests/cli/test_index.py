"""`convstore index status | sync | rebuild | verify`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from app.model.ids import dashed
from tests.builders import make_conversation, make_foreign, make_id
from tests.cli.conftest import Command


def test_status_tells_what_sync_did(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    (make_conversation(root, 2) / "meta.json").write_text("{")
    before = convstore("index", "status", "--store", root, "--json").json
    synced = convstore("index", "sync", "--store", root)
    after = convstore("index", "status", "--store", root, "--json").json
    assert (before["conversations"], before["last_sweep_at"]) == (0, None)
    assert synced.out.startswith("2 conversations: 2 new, 0 changed, 0 removed, 1 unreadable; 2 read in ")
    assert {name: after[name] for name in ("phase", "conversations", "unreadable", "dirty", "last_error")} == {
        "phase": "idle", "conversations": 2, "unreadable": 1, "dirty": 0, "last_error": None,
    }  # fmt: skip


def test_a_sync_tells_which_runs_it_would_end(root: Path, convstore: Command) -> None:
    make_conversation(root, state={"execution_status": "running"})
    sync = ("index", "sync", "--store", root)
    tried = convstore(*sync, "--recover", "--dry-run").out.splitlines()
    listed = convstore(*sync, "--recover", "--dry-run", "--json").json
    assert tried[1:] == [
        "0 were open at a crash and are read again; 1 run would be ended",
        f"{dashed(make_id(1))}: is running, would be in error",
    ]
    assert (listed["ended"], listed["dry_run"]) == ([dashed(make_id(1))], True)
    done = convstore(*sync, "--recover").out.splitlines()
    assert done[2] == f"{dashed(make_id(1))}: was running, is in error"
    refused = convstore(*sync, "--dry-run")
    assert (refused.code, "--dry-run needs --recover" in refused.err) == (2, True)


def test_verify_finds_and_rebuild_mends(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    assert convstore("index", "verify", "--store", root).out == "index and files agree\n"
    with sqlite3.connect(root / ".convstore" / "index.db") as index:
        index.execute("UPDATE conversation SET title = 'other'")
    index.close()

    ran = convstore("index", "verify", "--store", root)
    listed = convstore("index", "verify", "--store", root, "--json")

    assert ran.code == listed.code == 1
    assert "1 difference; `--fix` corrects it" in ran.out
    assert listed.json == [
        {
            "conversation": "00000000-0000-4000-8000-000000000001",
            "what": "title",
            "in_index": "other",
            "in_files": "A title",
            "fixed": False,
        }
    ]
    mended = convstore("index", "verify", "--fix", "--store", root)
    assert (mended.code, "1 difference; 1 mended" in mended.out) == (0, True)
    assert convstore("index", "rebuild", "--store", root).code == 0
    assert convstore("index", "verify", "--store", root).code == 0


def test_an_emptied_directory_is_not_believed_at_once(root: Path, convstore: Command) -> None:
    path = make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    path.rename(root.parent / "elsewhere")
    ran = convstore("index", "sync", "--store", root)
    assert ran.code == 2
    assert "--allow-empty" in ran.err
    assert convstore("index", "sync", "--allow-empty", "--store", root).code == 0
    assert convstore("count", "--store", root).out == "0\n"


def test_a_sync_names_what_is_no_conversation(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    make_foreign(root / make_id(2), "older OpenHands")
    (root / make_id(3)).mkdir()
    for command in ("sync", "rebuild"):
        ran = convstore("index", command, "--store", root)
        assert ran.out.splitlines()[1:] == [
            f"not listed: 1 directory has history of OpenHands V0: {make_id(2)}",
            f"not listed: 1 directory is empty or has only lock files: {make_id(3)}",
        ]
        told = convstore("index", command, "--store", root, "--json").json["not_conversations"]
        assert told == {"v0": [make_id(2)], "link": [], "twin": [], "locks": [make_id(3)], "other": []}
