"""Where conversations are, whether they changed, and opening nothing that is no plain file."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from app.errors import StoreUnavailable, UnreadableFile
from app.files import layout
from app.files.layout import EVENTS, META, STATE, ConversationDir, Kind
from app.files.metadata_reader import Reader, read_conversation
from app.model.ids import ConversationId, EventName, dashed
from tests.builders import FOREIGN, make_conversation, make_event, make_foreign, make_id, write_event

ONE, TWO, THREE = (ConversationId(make_id(number)) for number in (1, 2, 3))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Give a directory and its descriptor."""
    with layout.open_directory(tmp_path) as fd:
        yield tmp_path, fd


def test_conversation_directories_are_listed_by_name(tmp_path: Path) -> None:
    for name in (TWO, dashed(ONE), THREE):
        (tmp_path / name).mkdir()
    names, twice = layout.list_directories(tmp_path)
    assert (names, twice) == (sorted((dashed(ONE), TWO, THREE)), [])
    assert layout.conversation_dir(names[0]) == ConversationDir(
        names[0], ONE if names[0] == dashed(ONE) else ConversationId(names[0])
    )


def test_what_is_no_conversation_directory_is_not_listed(tmp_path: Path) -> None:
    for name in (".convstore", ".trash", f".new-{ONE}", "lost+found", f"{ONE}.bak", f"{ONE}0"):
        (tmp_path / name).mkdir()
    (tmp_path / ONE).touch()
    (tmp_path / TWO).symlink_to(tmp_path / ".trash", target_is_directory=True)
    (tmp_path / THREE).symlink_to(tmp_path / "nowhere")
    assert layout.list_directories(tmp_path) == ([], [])


@pytest.mark.parametrize("others", [[dashed(ONE)], [dashed(ONE).upper(), dashed(ONE)]])
def test_of_several_directories_for_one_id_the_plain_name_is_it(tmp_path: Path, others: list[str]) -> None:
    for name in (*others, ONE):
        (tmp_path / name).mkdir(exist_ok=True)
    assert layout.list_directories(tmp_path) == ([ONE], sorted({*others} - {ONE}))


@pytest.mark.parametrize("name", ["missing", "a file"])
def test_a_root_that_cannot_be_listed_is_unavailable(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(StoreUnavailable, match=f"{name} cannot be read"):
        layout.list_directories(tmp_path / name)


@pytest.mark.parametrize("names", [[ONE], [dashed(ONE)], [ONE, dashed(ONE)], [ONE.upper()], [dashed(ONE).upper()]])
def test_a_directory_is_found_without_a_listing(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    assert layout.find_directory(tmp_path, ONE) == names[0]


def test_a_link_or_a_file_is_no_directory_to_find(tmp_path: Path) -> None:
    (tmp_path / ONE).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / TWO).touch()
    assert [layout.find_directory(tmp_path, one) for one in (ONE, TWO, THREE)] == [None, None, None]


def test_a_file_is_read_with_its_time(directory: tuple[Path, int]) -> None:
    path, fd = directory
    (path / META).write_bytes(b'{"a": 1}')
    assert layout.read_file(META, fd) == (b'{"a": 1}', (path / META).stat().st_mtime_ns)


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_a_file_of_any_size_is_read_whole(directory: tuple[Path, int], size: int) -> None:
    path, fd = directory
    (path / META).write_bytes(content := os.urandom(size))
    assert layout.read_file(META, fd)[0] == content


def test_a_missing_file_is_missing(directory: tuple[Path, int]) -> None:
    with pytest.raises(FileNotFoundError):
        layout.read_file(META, directory[1])


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # a full path may be too long for a socket


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(layout._FILE_MAX_BYTES + 1)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "not a regular file (fifo)": os.mkfifo,
    "not a regular file (directory)": Path.mkdir,
    "cannot be opened (link)": lambda path: path.symlink_to("/etc/hostname"),
    "cannot be opened (dangling link)": lambda path: path.symlink_to("nowhere"),
    "cannot be opened (socket)": make_socket,
    "larger than 512 MiB": make_sparse,
}


@pytest.mark.parametrize("reason", ODD_FILES)
def test_what_is_no_plain_file_is_unreadable(
    directory: tuple[Path, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fd = directory
    monkeypatch.chdir(path)
    ODD_FILES[reason](path / META)
    with pytest.raises(UnreadableFile, match=reason.split(" (", maxsplit=1)[0]):
        layout.read_file(META, fd)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("/", target_is_directory=True), None])
def test_only_a_real_directory_is_opened(tmp_path: Path, make: Callable[[Path], object] | None) -> None:
    if make is not None:
        make(tmp_path / ONE)
    with pytest.raises(OSError, match=ONE), layout.open_directory(tmp_path / ONE):
        pass


def test_events_are_listed_in_log_order_and_nothing_else(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    numbers = [100_000, 99_999, 3, 0]
    for number in numbers:
        write_event(path, number)
    for name in (
        ".eventlog.lock",
        ".eventlog-len-4.marker",
        ".event-00004-abc.json.x.tmp",
        "event-00004-abcdefab.json~",
    ):
        (path / EVENTS / name).touch()
    with layout.open_directory(path) as fd:
        assert layout.list_events(fd) == [EventName(number, make_event(number)["id"]) for number in sorted(numbers)]


def test_a_conversation_without_an_events_directory_has_no_events(directory: tuple[Path, int]) -> None:
    assert layout.list_events(directory[1]) == []


def test_an_events_directory_that_is_a_link_is_unreadable(directory: tuple[Path, int]) -> None:
    path, fd = directory
    (path / EVENTS).symlink_to("/tmp", target_is_directory=True)  # noqa: S108
    with pytest.raises(UnreadableFile, match=r"events/ cannot be listed"):
        layout.list_events(fd)


def test_of_two_directories_the_one_that_has_files_counts(tmp_path: Path) -> None:
    (tmp_path / make_id(1) / "events").mkdir(parents=True)
    make_conversation(tmp_path, 1, directory=dashed(make_id(1)))
    assert layout.list_directories(tmp_path) == ([dashed(make_id(1))], [make_id(1)])
    assert layout.find_directory(tmp_path, ONE) == dashed(ONE)


GONE_OR_ODD: list[dict[str, str | None]] = [
    {},
    {META: "{"},
    {META: "a link", STATE: None},
    {STATE: None},
    {META: None, STATE: None},
    {EVENTS: None},
    {META: None, STATE: None, EVENTS: ""},
]
"""What became of a conversation's files: other content, None for none, or a link to nothing."""
GHOSTS = {
    "empty": (),
    "empty events/": ("events/",),
    "locks": (".owner_lease.lock", "events/.eventlog.lock"),
    "leases": ("owner_lease.json", ".owner_lease.last", ".owner_lease.json.x1.tmp", "..owner_lease.last.x1.tmp"),
    "markers": ("events/.eventlog-len-3.marker", "events/.eventlog-len.marker.tmp"),
}


@pytest.mark.parametrize("changed", GONE_OR_ODD)
def test_what_is_listed_is_a_conversation_also_when_it_cannot_be_read(
    tmp_path: Path, changed: dict[str, str | None]
) -> None:
    path = make_conversation(tmp_path)
    for name, content in changed.items():
        shutil.rmtree(path / name) if name == EVENTS else (path / name).unlink()
        if content == "a link":
            (path / name).symlink_to("nowhere")
        elif content is not None:
            (path / name).write_text(content)
    assert layout.find_kind(tmp_path, ONE) is Kind.CONVERSATION
    assert read_conversation(Reader(tmp_path, None), ONE, ONE) is not None


def test_one_that_may_not_be_looked_into_is_a_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_conversation(tmp_path)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for call in ("stat", "open"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, refuse)
            assert layout.find_kind(tmp_path, ONE) is Kind.CONVERSATION


@pytest.mark.parametrize("names", GHOSTS.values(), ids=GHOSTS)
def test_what_holds_nothing_but_locks_and_leases_is_a_ghost(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / ONE).mkdir()
    for name in names:
        (tmp_path / ONE / name).parent.mkdir(exist_ok=True)
        if name.endswith("/"):
            (tmp_path / ONE / name).mkdir()
        else:
            (tmp_path / ONE / name).touch()
    assert layout.find_kind(tmp_path, ONE) is Kind.GHOST
    assert read_conversation(Reader(tmp_path, None), ONE, ONE) is None


@pytest.mark.parametrize("what", FOREIGN)
def test_anything_else_of_such_a_name_is_neither(tmp_path: Path, what: str) -> None:
    root = tmp_path / "store"
    root.mkdir()
    make_foreign(root / ONE, what)
    assert layout.find_kind(root, ONE) is Kind.OTHER
    assert layout.find_occupant(root, ONE) == (ONE, Kind.OTHER)
    assert read_conversation(Reader(root, None), ONE, ONE) is None


def test_where_nothing_stands_there_is_no_kind(tmp_path: Path) -> None:
    assert layout.find_kind(tmp_path, ONE) is None
    assert layout.find_occupant(tmp_path, ONE) == (ONE, None)


@pytest.mark.parametrize("what", ["older OpenHands", "own files", None])
def test_of_two_directories_the_one_with_events_is_the_conversation(tmp_path: Path, what: str | None) -> None:
    path = make_conversation(tmp_path, directory=dashed(ONE))
    (path / META).unlink()
    (path / STATE).unlink()
    if what is None:
        (tmp_path / ONE).mkdir()
    else:
        make_foreign(tmp_path / ONE, what)
    assert layout.list_directories(tmp_path) == ([dashed(ONE)], [ONE])
    assert layout.find_directory(tmp_path, ONE) == dashed(ONE)


def test_a_missing_directory_that_a_failing_disk_does_not_open_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert layout.find_occupant(root, ONE) == (ONE, None)
    make_conversation(root)
    monkeypatch.setattr(os, "open", refuse)
    assert layout.find_occupant(root, ONE) == (ONE, Kind.CONVERSATION)
