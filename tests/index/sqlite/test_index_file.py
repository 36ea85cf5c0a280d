"""The directory of the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import IndexUnusable
from app.index.sqlite.index_file import make_directory


def test_an_index_directory_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(IndexUnusable, match=r"cannot be made .* CONVSTORE_INDEX_URL"):
        make_directory(tmp_path / "a-file" / "index.db")


def test_an_index_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    make_directory(tmp_path / "deep" / "index" / "index.db")
    assert (tmp_path / "deep" / "index").stat().st_mode & 0o777 == 0o700
