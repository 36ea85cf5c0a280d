"""Having a new index in the place of a damaged or deleted one; tests/faults damages them under a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import IndexUnusable
from app.index.places import Identity
from app.index.recovery import recover


async def test_a_store_that_went_after_its_index_is_not_made_again(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    with pytest.raises(IndexUnusable, match="cannot be made"):
        await recover(root / ".convstore" / "index.db", Identity(0, 0))
    assert not root.exists()


async def test_an_index_directory_that_went_alone_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / ".convstore" / "index.db"
    assert await recover(path, Identity(0, 0))
    assert path.stat().st_size > 0
