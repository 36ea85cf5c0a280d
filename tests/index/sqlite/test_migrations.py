"""Which schema an index has, and what a damaged one says."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexDamaged, IndexUnusable
from app.index.sqlite import migrations
from app.index.sqlite.migrations import HEAD, read_revision
from app.index.sqlite.replace_index import is_marked_damaged


def test_a_schema_whose_names_are_no_text_any_more_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    migrations.upgrade(path)
    assert read_revision(path) == HEAD
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET name = CAST(X'61CB28' AS TEXT), sql = 'none' WHERE name = 'message'")
        database.commit()
    with pytest.raises(IndexDamaged, match="is damaged"):
        read_revision(path)


@pytest.mark.parametrize("look", [read_revision, is_marked_damaged])
def test_an_index_of_another_user_is_told_with_what_to_do(
    look: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    told = f"^the index directory {tmp_path} cannot be used .Permission denied.; make it readable and writable for this"
    with pytest.raises(IndexUnusable, match=told):
        look(tmp_path / "index.db")


@pytest.mark.parametrize("good", range(3))
def test_a_disk_that_fails_at_any_look_for_the_file_is_told(
    good: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "index.db", []
    stat = Path.stat

    def fail_later(one: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        asked.append(one)
        if one == path and asked.count(path) > good:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(one))
        return stat(one, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", fail_later)
    with pytest.raises(IndexUnusable, match=r"cannot be used .Input/output error.; check its disk"):
        migrations.upgrade(path)
