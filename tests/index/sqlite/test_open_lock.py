"""The lock of all who have an index open."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import IndexBusy
from app.index.sqlite import open_lock


def test_many_hold_it_open_and_one_alone_only_without_them(path: Path) -> None:
    held = [open_lock.hold_open(path), open_lock.hold_open(path)]
    with pytest.raises(IndexBusy, match="cannot be changed while it is open"), open_lock.hold_alone(path, 0):
        pass
    for descriptor in held:
        open_lock.release(descriptor)
    with (
        open_lock.hold_alone(path, 0),
        pytest.raises(IndexBusy, match="has been migrated for more than 0 s"),
    ):
        open_lock.hold_open(path, 0)


def test_where_there_is_no_directory_nobody_can_migrate(tmp_path: Path) -> None:
    assert open_lock.hold_open(tmp_path / "gone" / "index.db") is None
