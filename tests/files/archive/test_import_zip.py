"""Zips that are to be imported: what is in a good one, and that a hostile one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ArchiveRefused, ArchiveTooLarge
from app.files.archive.import_zip import ZipSource
from app.model.archive_format import Limits
from tests.builders import make_id
from tests.files.archives import good_entries, hostile_zips, make_zip

LIMITS = Limits(file_bytes=1 << 20, total_bytes=1 << 22, files=100)
HOSTILE = hostile_zips()


def read(path: Path, raw: bytes, limits: Limits = LIMITS) -> dict[str, list[str]]:
    path.write_bytes(raw)
    return {one.id: [file.name for file in one.files] for one in ZipSource(path, limits).read()}


def test_conversations_come_by_id_and_their_files_in_the_order_of_an_export(tmp_path: Path) -> None:
    entries = [("readme.txt", b"hello"), *reversed(good_entries(make_id(2))), *good_entries(prefix="deep/er/")]
    found = read(tmp_path / "a.zip", make_zip(entries))
    assert list(found) == [make_id(1), make_id(2)]
    names = [str(name).removeprefix(f"{make_id(1)}/") for name, _ in good_entries()]
    assert list(found.values()) == [names, names]


@pytest.mark.parametrize("above", ["", "conversations/", "backup/of/monday/.openhands/conversations/"])
def test_the_trash_of_a_zipped_store_stays_out(tmp_path: Path, above: str) -> None:
    one, other = make_id(1), make_id(2)
    entries = [
        *good_entries(prefix=f"{above}{one}/"),
        *good_entries(prefix=f"{above}.trash/{one}.1795883164361911.ff138b0e/"),
        *good_entries(other, prefix=f"{above}.trash/{other}.1795883164361911.ff138b0e/"),
        *good_entries(other, prefix=f"{above}.trash/{other}/"),
        *good_entries(prefix=f"{above}__MACOSX/{one}/"),
        *good_entries(other, prefix=f"{above}.convstore/import-x/{other}/"),
        *good_entries(other, prefix=f"{above}.import-{other}-0123456789abcdef0123456789abcdef/"),
    ]
    found = read(tmp_path / "a.zip", make_zip(entries))
    assert {id_: len(names) for id_, names in found.items()} == {one: 4}


def test_the_notes_of_macos_are_no_files_of_a_conversation_at_the_top(tmp_path: Path) -> None:
    notes = [("__MACOSX/._meta.json", b"a note"), ("__MACOSX/events/._x", b"a note")]
    entries = [*good_entries(prefix=""), *notes, ("a/__MACOSX/mine", b"kept")]
    [names] = read(tmp_path / "a.zip", make_zip(entries)).values()
    assert len(names) == 5
    assert "a/__MACOSX/mine" in names


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_zip_is_refused(tmp_path: Path, what: str) -> None:
    with pytest.raises((ArchiveRefused, ArchiveTooLarge)):
        read(tmp_path / "a.zip", HOSTILE[what])


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    raw = make_zip([*good_entries(), (f"{make_id(1)}/zeros", bytes(1 << 20))])
    assert read(tmp_path / "a.zip", raw, Limits(1 << 20, 1 << 22, 100, ratio=None))
    for limits in (
        Limits(1 << 19, 1 << 22, 100, None),
        Limits(1 << 20, 1 << 20, 100, None),
        Limits(1 << 20, 1 << 22, 4),
    ):
        with pytest.raises(ArchiveTooLarge):
            read(tmp_path / "a.zip", raw, limits)
