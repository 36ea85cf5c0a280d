"""index, db, and the output of commands; what all have in common is in tests/rules."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.index.sqlite.schema_version import HEAD
from app.model.ids import dashed
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command

COMMAND = Path(sys.executable).with_name("convstore")


def test_a_bad_setting_is_named(tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "Mars/Olympus")
    ran = convstore("list", "--store", tmp_path)
    assert ran.code == 2
    assert "convstore: CONVSTORE_TIMEZONE: no time zone is called 'Mars/Olympus'" in ran.err


def test_the_version_is_printed(convstore: Command) -> None:
    assert re.fullmatch(r"convstore \d+\.\d+\.\d+\n", convstore("--version").out)


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
    assert (refused.code, "--dry-run goes with --recover" in refused.err) == (2, True)


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
    assert "1 difference; `--fix` mends it" in ran.out
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


def test_the_schema_goes_down_and_up(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    assert convstore("db", "current", "--store", root, "--json").json == {"current": HEAD, "head": HEAD}
    assert convstore("db", "downgrade", "base", "--store", root).out.endswith(f"\n{HEAD} -> nothing\n")
    assert convstore("db", "check", "--store", root).code == 1
    assert convstore("db", "upgrade", "--store", root).out.endswith(f"nothing -> {HEAD}\n")
    assert convstore("db", "check", "--store", root).code == 0
    assert convstore("count", "--store", root).out == "1\n"


def test_an_unknown_revision_is_explained(root: Path, convstore: Command) -> None:
    ran = convstore("db", "upgrade", "9999", "--store", root)
    assert ran.code == 2
    assert "convstore db history" in ran.err


def test_an_index_of_a_newer_program_is_refused(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    with sqlite3.connect(root / ".convstore" / "index.db") as index:
        index.execute("UPDATE alembic_version SET version_num = '9999'")
    index.close()
    for command in (("list",), ("db", "upgrade"), ("index", "rebuild")):
        ran = convstore(*command, "--store", root)
        assert ran.code == 2
        assert "a newer convstore made it. Upgrade convstore" in ran.err


def test_the_index_may_stand_elsewhere(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    elsewhere = tmp_path / "other" / "place.db"
    assert convstore("count", "--store", root, "--index", f"sqlite:///{elsewhere}").out == "1\n"
    assert elsewhere.exists()


def test_another_kind_of_database_is_refused(root: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", root, "--index", "postgresql://host/db")
    assert ran.code == 2
    assert "write sqlite:///" in ran.err


def test_a_migration_says_what_it_will_do_and_can_be_tried_dry(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    dry = convstore("db", "downgrade", "0001", "--dry-run", "--store", root)
    assert re.match(r"the index has [\d,]+ bytes \(1 conversation, 2 event rows\); [\d,]+ bytes are free\n", dry.out)
    assert f"\n  {HEAD}  " in dry.out
    assert "will read all conversations again\n" in dry.out
    assert convstore("db", "current", "--store", root, "--json").json["current"] == HEAD
    ran = convstore("db", "downgrade", "0001", "--backup", "--store", root, "--json")
    assert (ran.json["before"], ran.json["after"], ran.json["dry_run"]) == (HEAD, "0001", False)
    with closing(sqlite3.connect(ran.json["backup"])) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    planned = convstore("db", "upgrade", "--dry-run", "--store", root, "--json").json
    done = convstore("db", "upgrade", "--store", root, "--json").json
    assert planned["steps"] == done["steps"] == ran.json["steps"][::-1]
    assert convstore("db", "upgrade", "--dry-run", "--store", root).out == "there is nothing to migrate\n"
    convstore("index", "sync", "--store", root)
    assert convstore("index", "verify", "--store", root).code == 0


def test_an_upgrade_offers_to_build_the_index_anew_and_does_it(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    convstore("db", "downgrade", "0001", "--store", root)
    make_conversation(root, 2)
    dry = convstore("db", "upgrade", "--rebuild", "--dry-run", "--store", root)
    assert "will read all conversations again; --rebuild does that now, beside the index" in dry.out
    assert convstore("db", "current", "--store", root, "--json").json["current"] == "0001"
    ran = convstore("db", "upgrade", "--rebuild", "--store", root)
    assert re.search(rf"\n0001 -> {HEAD}\nbuilt anew from 2 conversations in [\d.]+ s\n$", ran.out)
    synced = convstore("index", "sync", "--store", root, "--json").json
    assert (synced["opened"], synced["logs"]) == (0, 0)
    assert convstore("db", "upgrade", "--rebuild", "--store", root, "--json").json["rebuilt"] == 2
    assert convstore("db", "upgrade", "0001", "--rebuild", "--store", root).code == 2


def test_one_step_down_is_minus_one(root: Path, convstore: Command) -> None:
    ran = convstore("db", "downgrade", "--store", root, "--", "-1")
    assert ran.out.endswith(f"{HEAD} -> {int(HEAD) - 1:04}\n")
    far = convstore("db", "downgrade", "--store", root, "--", "-99")
    assert (far.code, "revisions to go down" in far.err) == (2, True)


def test_a_backup_is_made_where_it_is_asked_for(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    ran = convstore("db", "backup", tmp_path / "copy.db", "--store", root)
    again = convstore("db", "backup", tmp_path / "copy.db", "--store", root)
    assert re.fullmatch(rf"1 conversation, [\d,]+ bytes, schema {HEAD}: .*copy\.db\n", ran.out)
    assert (again.code, "exists; name another file" in again.err) == (2, True)


@pytest.mark.long
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "found"),
    [("convstore exp", "export"), ("convstore db down", "downgrade"), ("convstore list --status fin", "finished")],
)
def test_the_shell_completes_commands_and_values(shell: str, words: str, found: str) -> None:
    asked = {
        "_CONVSTORE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    ran = subprocess.run([COMMAND], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert (found in ran.stdout, "serve" in ran.stdout, "running" in ran.stdout) == (True, False, False)


def test_completion_is_set_up_in_a_shell(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{COMMAND} --install-completion; exit $?"],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, "convstore" in (tmp_path / ".bashrc").read_text()) == (0, True)


@pytest.mark.long
@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("export", "--all", "-o", "-")], ids=" ".join)
def test_output_that_cannot_be_written_is_told_in_a_line(root: Path, command: tuple[str, ...]) -> None:
    make_conversation(root)
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [COMMAND, *command, "--store", root], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ran.returncode, ran.stderr) == (2, "convstore: the output: No space left on device\n")


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [("list",), ("list", "--json"), ("search", "message"), ("export", "--all", "-o", "-"), ("doctor",)],
    ids=" ".join,
)
def test_a_reader_that_ends_ends_the_command_quietly_and_is_nothing_found(root: Path, command: tuple[str, ...]) -> None:
    make_conversation(root)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ran = subprocess.run(
            [COMMAND, *command, "--store", root], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.long
@pytest.mark.parametrize("command", [("--help",), ("--version",), ("list", "--help"), ("db", "--help")], ids=" ".join)
def test_a_reader_of_a_help_may_end_too(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ran = subprocess.run([COMMAND, *command], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_what_the_terminal_cannot_show_is_escaped(root: Path) -> None:
    make_conversation(root, meta={"title": "caf\u00e9"})
    ran = subprocess.run(
        [COMMAND, "list", "--store", root],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr, "caf\\xe9" in ran.stdout) == (0, "", True)
