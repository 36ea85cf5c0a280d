"""Which store a command takes, and the sync before it answers."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.store.read import reader
from tests.builders import index_path, make_conversation, make_foreign, make_id, second_process
from tests.cli.conftest import Command

_LEADER = """
import asyncio, sys
from app import ConversationStore, Settings
from app.store.follow.leader import lead
async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store, lead(store.index):
        print("leads", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "command", [("list",), ("count", "--no-sync"), ("show", make_id(1)), ("index", "sync")], ids=str
)
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("", "has no conversation (it is empty); give the directory that has the conversation directories. "),
        ("older OpenHands", f"has no conversation (1 directory has history of OpenHands V0: {make_id(1)}); give"),
        ("a link", f"has no conversation (1 symbolic link is not followed: {make_id(1)}); give the directory"),
        (
            "nested",
            "(1 other entry is not a conversation: workspace); give the directory that has the conversation dir",
        ),
        ("itself", "is one conversation; give the directory that contains it: "),
    ],
)
def test_a_directory_without_a_store_gets_none(
    tmp_path: Path, convstore: Command, command: tuple[str, ...], what: str, told: str
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    if what == "nested":
        make_conversation(root / "workspace" / "conversations")
    elif what == "itself":
        root = make_conversation(root)
    elif what:
        make_foreign(root / make_id(1), what)
    ran = convstore(*command, "--store", root)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err
    assert not (root / ".convstore").exists()
    if what == "nested":
        assert f": {root / 'workspace' / 'conversations'}. `convstore serve`" in ran.err


def test_a_store_without_conversations_is_none_the_less_one(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root)
    convstore("export", make_id(1), "--store", root, "-o", tmp_path / "one.zip")
    convstore("delete", make_id(1), "--store", root)
    told = f"convstore: no conversation directories in {root}\n"
    assert (convstore("count", "--store", root)) == (0, "0\n", told)
    (tmp_path / "new").mkdir()
    assert convstore("import", tmp_path / "one.zip", "--store", tmp_path / "new").code == 0
    shutil.rmtree(root / ".convstore")
    assert convstore("trash", "list", "--store", root).out.count("A title") == 1


@pytest.mark.parametrize("command", ["list", "count", "du", "doctor", "index sync", "index verify", "trash list"])
def test_a_command_without_other_arguments_takes_the_store_as_one(
    root: Path, tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    make_conversation(root)
    named = convstore(*command.split(), "--store", root, "--json")
    monkeypatch.setenv("CONVSTORE_STORE", str(tmp_path / "nowhere"))
    ran = convstore(*command.split(), root, "--json")
    assert (ran.code, type(ran.json)) == (named.code, type(named.json))
    twice = convstore(*command.split(), root, "--store", root)
    assert (twice.code, twice.err) == (2, "convstore: DIR and --store mean the same; give only one of them\n")


def test_a_store_behind_a_link_is_named_as_it_was_given_and_as_it_is(tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "link"
    link.symlink_to("store")
    assert f"{link} (that is {tmp_path / 'store'}) has no conversation" in convstore("count", "--store", link).err
    link.unlink()
    link.symlink_to("nothing")
    ran = convstore("count", "--store", link)
    assert (ran.code, f"{link} (that is {tmp_path / 'nothing'}) is not a directory" in ran.err) == (2, True)


def test_an_index_of_very_many_conversations_is_used_as_it_is_and_says_how_old(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MANY", 2)
    make_conversation(root, 1)
    assert convstore("count", "--store", root).out == "1\n"
    make_conversation(root, 2)
    assert convstore("count", "--store", root)[1:] == ("2\n", "")
    with closing(sqlite3.connect(index_path(root))) as db:
        db.execute("UPDATE sync_state SET last_sweep_at = last_sweep_at - 7200 * 1000000")
        db.commit()
    make_conversation(root, 3)
    ran = convstore("count", "--store", root)
    told = "the index of 2 conversations was last compared with the files 2 hours ago; `convstore index sync` compares"
    assert (ran.code, ran.out, told in ran.err) == (0, "2\n", True)
    assert convstore("count", "--store", root, "--no-sync")[1:] == ("2\n", "")
    assert convstore("index", "sync", "--store", root).code == 0
    assert convstore("count", "--store", root).out == "3\n"


def test_list_notices_what_other_programs_did_unless_told_not_to(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    assert convstore("count", "--store", root).out == "1\n"
    make_conversation(root, 2)
    assert convstore("count", "--store", root, "--no-sync").out == "1\n"
    assert convstore("count", "--store", root).out == "2\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("count",), "1\n"),
        (("count", "--by", "status"), "1 conversation"),
        (("du", "--json"), '"conversations": 1'),
        (("prune", "--older-than", "0d", "--dry-run"), "2 "),
    ],
)
def test_a_command_beside_a_leader_compares_files_only_to_be_exact(
    root: Path, convstore: Command, command: tuple[str, ...], told: str
) -> None:
    make_conversation(root, 1)
    convstore("index", "sync", "--store", root)
    with second_process(_LEADER, root) as leader:
        assert leader.hear() == "leads"
        make_conversation(root, 2)
        assert told in convstore(*command, "--store", root).out


def test_a_leader_that_has_not_yet_compared_the_files_is_not_relied_on(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    with second_process(_LEADER, root) as leader:
        assert leader.hear() == "leads"
        assert convstore("count", "--store", root).out == "1\n"
