"""`convstore db`: migrations of the index, and backups."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from app.index.sqlite.migrations import HEAD
from tests.builders import make_conversation
from tests.cli.conftest import Command


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
    assert "will read all conversations again; --rebuild does that now, and the index" in dry.out
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
