"""doctor: one test for each thing that it can find, and that it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import Settings, filesystem
from app.model.ids import ConversationId, dashed
from app.store.admin.disk_checks import look_around
from tests.builders import held_by_another_process, make_conversation, make_event, make_foreign, make_id
from tests.cli.conftest import COMMAND, Command, Ran


@pytest.fixture
def store(root: Path, convstore: Command) -> Path:
    """Two conversations, indexed."""
    for number in (1, 2):
        make_conversation(root, number)
    (root / ".convstore").chmod(0o700)
    convstore("index", "sync", "--store", root)
    return root


def found(ran: Ran, check: str) -> list[tuple[str, str, str]]:
    return [(one["level"], one["found"], one["advice"]) for one in ran.json if one["check"] == check]


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in directory.rglob("event-*.json")}


def test_a_sound_store_has_no_problem_and_stays_as_it_is(store: Path, convstore: Command) -> None:
    before = tree(store)
    ran = convstore("doctor", "--store", store)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "no problem")
    for check in (
        "versions",
        "index disk",
        "store disk",
        "leases",
        "trash",
        "schema",
        "pragmas",
        "unreadable",
        "clocks",
        "files",
    ):
        assert any(line.split()[1:3][0] == check.split()[0] and line.startswith("ok") for line in ran.out.splitlines())
    assert tree(store) == before


def test_a_store_without_an_index_gets_none(tmp_path: Path, convstore: Command) -> None:
    make_conversation(tmp_path, 1)
    ran = convstore("doctor", "--store", tmp_path, "--json")
    assert ran.code == 0
    assert [level for level, *_ in found(ran, "index")] == ["note"]
    assert not (tmp_path / ".convstore").exists()


def test_a_store_that_is_not_there_is_a_failure(tmp_path: Path, convstore: Command) -> None:
    ran = convstore("doctor", "--store", tmp_path / "nowhere")
    assert ran.code == 2
    assert "is not a directory" in ran.err


def unreadable(store: Path) -> None:
    (store / make_id(1) / "base_state.json").write_text("")


def retitled(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        database.execute("UPDATE conversation SET title = 'other'")


def forbidden(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        told = "meta.json: cannot be opened (Permission denied)"  # as a sync tells one that it may not read
        database.execute("UPDATE conversation SET unreadable = ?", (told,))


def vanished(store: Path) -> None:
    shutil.rmtree(store / make_id(2))


def opened_to_others(store: Path) -> None:
    (store / ".convstore").chmod(0o755)
    (store / ".convstore" / "index.db").chmod(0o644)


def torn_lease(store: Path) -> None:
    (store / make_id(1) / "owner_lease.json").write_text("{")


def linked_trash(store: Path) -> None:
    (store / ".trash").symlink_to(store / ".convstore")


def failing_sweep(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        database.execute("UPDATE sync_state SET last_error = 'no disk'")


def newer_schema(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as db:
        db.execute("UPDATE alembic_version SET version_num = '9042'")
        db.commit()


def older_schema(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")


def dropped_index(store: Path) -> None:
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        database.execute("DROP INDEX ix_conversation_parent")


def no_database(store: Path) -> None:
    path = store / ".convstore" / "index.db"
    path.write_bytes(b"\x55" * path.stat().st_size)


PROBLEMS: list[tuple[Callable[[Path], None], str, str, str]] = [
    (unreadable, "unreadable", "base_state.json: the file is empty", f"convstore repair {'00000000-0000-4000'}"),
    (forbidden, "unreadable", "meta.json: cannot be opened (Permission denied)", "change its owner or mode"),
    (retitled, "files", "title: other", "convstore index verify --fix"),
    (vanished, "files", "row:", "convstore index sync"),
    (opened_to_others, "permissions", "can be read by others", "chmod 600"),
    (torn_lease, "leases", "1 lease files cannot be read", "stop all servers but one"),
    (linked_trash, "trash", "is not a directory", "make it readable"),
    (failing_sweep, "index", "no disk", "correct the cause"),
    (
        newer_schema,
        "schema",
        "9042: a newer convstore made the index",
        "upgrade convstore, or set CONVSTORE_INDEX_URL=",
    ),
    (older_schema, "schema", "0001, this convstore needs", "convstore db upgrade"),
    (dropped_index, "schema", "ix_conversation_parent", "convstore index rebuild"),
    (no_database, "index", "not a database", "convstore index rebuild"),
]


@pytest.mark.parametrize(("harm", "check", "said", "advice"), PROBLEMS, ids=[one[0].__name__ for one in PROBLEMS])
def test_a_problem_is_told_with_what_to_do(
    store: Path, convstore: Command, harm: Callable[[Path], None], check: str, said: str, advice: str
) -> None:
    harm(store)
    if harm is unreadable:
        convstore("index", "sync", "--store", store)
    ran = convstore("doctor", "--store", store, "--json")
    assert ran.code == 1
    problems = [(text, what) for level, text, what in found(ran, check) if level == "problem"]
    assert any(said in text and advice in what for text, what in problems), problems


def test_a_time_in_the_future_is_told(store: Path, convstore: Command) -> None:
    later = datetime.now(UTC) + timedelta(hours=26)
    make_conversation(store, 3, meta={"updated_at": later.isoformat()})
    make_conversation(store, 4, events=[make_event(0), make_event(1, timestamp="2126-01-01T00:00:00")])
    make_conversation(store, 5, events=[make_event(0, timestamp=(later - timedelta(hours=3)).isoformat())])
    (make_conversation(store, 6) / "meta.json").write_text("torn")
    convstore("index", "sync", "--store", store)
    [(level, said, advice)] = found(convstore("doctor", "--store", store, "--json"), "clocks")
    ahead = ", ".join(dashed(ConversationId(make_id(number))) for number in (3, 4))
    assert (level, said) == ("note", f"2 conversations have a time more than a day in the future: {ahead}")
    assert advice.startswith("correct the clocks of")


def test_an_index_that_cannot_be_where_it_is_said_is_a_problem(store: Path, tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "file").touch()
    ran = convstore("doctor", "--store", store, "--index", f"sqlite:///{tmp_path / 'file' / 'index.db'}", "--json")
    assert ran.code == 1
    [(level, said, advice)] = found(ran, "index")
    assert (level, said.endswith("cannot be examined (Not a directory)")) == ("problem", True)
    assert "CONVSTORE_INDEX_URL" in advice


def examined_while_closed(store: Path, directory: Path, mode: int) -> Ran:
    """Run doctor in a process that has to ask for permission, as root's does not."""
    obeying = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    if obeying and shutil.which(obeying[0]) is None:
        pytest.skip("no setpriv here, and root may read everything")
    directory.chmod(mode)
    command = [*obeying, COMMAND, "doctor", "--store", store, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    directory.chmod(0o700)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.long
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500], ids=oct)
def test_an_index_directory_that_is_closed_is_a_problem_beside_all_else(store: Path, mode: int) -> None:
    ran = examined_while_closed(store, store / ".convstore", mode)
    assert (ran.code, ran.err) == (1, "")
    for check, told in (("permissions", "cannot be written to"), ("index", "index.db cannot be ")):
        [(level, said, advice)] = found(ran, check)
        assert (level, told in said, "CONVSTORE_INDEX_URL" in advice) == ("problem", True, True)
    assert [level for level, *_ in found(ran, "trash")] == ["ok"]


def test_a_trash_that_is_closed_is_a_problem_beside_all_else(store: Path, convstore: Command) -> None:
    convstore("delete", make_id(2), "--store", store)
    ran = examined_while_closed(store, store / ".trash", 0o000)
    assert (ran.code, ran.err) == (1, "")
    assert [one["check"] for one in ran.json if one["level"] == "problem"] == ["trash"]
    assert found(ran, "trash")[0][1] == f"the trash {store / '.trash'} cannot be read (Permission denied)"
    assert [level for level, *_ in found(ran, "files")] == ["ok"]


def test_leases_are_told_by_owner_and_those_of_a_dead_server_apart(store: Path, convstore: Command) -> None:
    for number, (owner, expires_in_s) in enumerate([("alive", 45), ("dead", -45)], start=1):
        lease = {"owner_instance_id": owner, "generation": 1, "expires_at": time.time() + expires_in_s}
        (store / make_id(number) / "owner_lease.json").write_text(json.dumps(lease))
    ran = convstore("doctor", "--store", store, "--json")
    held, left = found(ran, "leases")
    assert held[:2] == ("ok", "1 conversations are owned now: 1 by alive")
    assert left[0] == "note"
    assert make_id(2) in left[1]


def test_the_trash_a_crash_and_what_was_set_aside_are_told(store: Path, convstore: Command) -> None:
    convstore("delete", make_id(2), "--store", store)
    (store / ".convstore" / "index.db.damaged-1").write_bytes(b"old")
    for name in (f".new-{make_id(9)}-{make_id(8)}", ".new-mine"):
        (store / name).mkdir()
        os.utime(store / name, (0, 0))
    (store / ".trash" / f".copy-{make_id(1)}.1.00000000").mkdir()
    with closing(sqlite3.connect(store / ".convstore" / "index.db")) as database, database:
        database.execute("UPDATE conversation SET dirty_by = 'convstore-dead'")
    ran = convstore("doctor", "--store", store, "--json")
    assert ran.code == 0
    kept, left = found(ran, "trash")
    assert kept[1].startswith("1 conversations, the oldest of 20")
    assert (left[0], left[1].startswith("1 incomplete copies or half-removed")) == ("note", True)
    leftovers = found(ran, "leftovers")
    assert [level for level, *_ in leftovers] == ["note", "note"]
    assert leftovers[1][1].startswith("1 incomplete conversations after a crash")
    assert found(ran, "crash")[0][1].startswith("1 conversations were open when their convstore ended")


def test_a_server_that_looks_after_the_index_is_told(store: Path, convstore: Command) -> None:
    with held_by_another_process(store / ".convstore" / "duty.lock"):
        ran = convstore("doctor", "--store", store, "--json")
    assert [level for level, *_ in found(ran, "server")] == ["ok"]


def test_a_network_file_system_is_told_and_refused(
    store: Path, convstore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:9 / {store} rw - nfs4 host:/export rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    ran = convstore("doctor", "--store", store, "--json")
    assert ran.code == 1
    assert found(ran, "index disk")[0][0] == "problem"
    refused = convstore("list", "--store", store)
    assert refused.code == 2
    assert "nfs4, a network file system" in refused.err
    elsewhere = convstore("list", "--store", store, "--index", f"sqlite:///{tmp_path / 'local' / 'index.db'}")
    assert elsewhere.code == 0


@pytest.mark.parametrize(
    ("mount", "level"),
    [
        ("nfs4 host:/export rw,vers=4.2,hard,acregmax=1,local_lock=none", "ok"),
        ("nfs4 host:/export rw,vers=4.2,hard,local_lock=none", "note"),
        ("nfs4 host:/export rw,vers=4.2,soft,local_lock=none", "problem"),
        ("nfs4 host:/export rw,vers=4.0,hard", "problem"),
        ("nfs host:/export rw,vers=3,hard,nolock", "problem"),
        ("nfs host:/export rw,hard,local_lock=all", "problem"),
        ("fuse.sshfs host:/ rw", "note"),
        ("ext4 /dev/vda rw", None),
    ],
)
def test_the_mount_of_a_network_file_system_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str, level: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:9 / / rw - {mount}\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    found = look_around(Settings(store=tmp_path, index_url="postgresql://"), "0")
    assert [one.level for one in found if one.check == "mount"] == ([level] if level else [])


def test_a_disk_whose_clock_differs_is_told(store: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(convstore("doctor", "--store", store, "--json"), "disk clock")[0][0] == "ok"
    ahead = time.time
    monkeypatch.setattr("app.store.admin.disk_checks.time.time", lambda: ahead() - 5)
    [(level, told, _)] = found(convstore("doctor", "--store", store, "--json"), "disk clock")
    assert (level, "5.0 s ahead" in told) == ("problem", True)


def test_what_is_no_conversation_is_named(store: Path, convstore: Command) -> None:
    nothing = [("ok", "none: every entry is a conversation", "")]
    assert found(convstore("doctor", "--store", store, "--json"), "not listed") == nothing
    make_foreign(store / make_id(3), "older OpenHands")
    make_foreign(store / make_id(4), "a link to nothing")
    told = found(convstore("doctor", "--store", store, "--json"), "not listed")
    assert [(level, text) for level, text, _ in told] == [
        ("note", f"1 directory has history of OpenHands V0: {make_id(3)}"),
        ("note", f"1 symbolic link is not followed: {make_id(4)}"),
    ]
    assert all(advice for *_, advice in told)


def test_one_conversation_is_no_store(store: Path, convstore: Command) -> None:
    ran = convstore("doctor", store / make_id(1))
    assert (ran.code, "is one conversation; give the directory that contains it: " in ran.err) == (2, True)
