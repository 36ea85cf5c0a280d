"""Having a new index in the place of a damaged or deleted one; tests/faults damages them under a server."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import Settings
from app.errors import IndexUnusable
from app.index.sqlite.index_file import FileIdentity, find_identity
from app.index.sqlite.replace_index import replace_damaged
from app.store.follow.rebuild import rebuild
from tests.builders import make_conversation
from tests.conftest import StoreOpener


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let this process make files that everybody may read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def readable_by_others(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.usefixtures("open_umask")
async def test_an_index_is_its_owners_alone_however_it_was_made(tmp_path: Path, open_store: StoreOpener) -> None:
    root, beside = tmp_path / "conversations", tmp_path / "index"
    beside.mkdir()
    path = beside / "index.db"
    make_conversation(root)
    seen: list[str] = []
    async with open_store(root, index_url=f"sqlite:///{path}"):
        seen += readable_by_others(beside)
    settings = Settings(store=root, index_url=f"sqlite:///{path}")
    await rebuild(settings, lambda *_: seen.extend(readable_by_others(beside)))
    assert await replace_damaged(path, find_identity(path))
    assert seen + readable_by_others(beside) == []


async def test_a_store_that_went_after_its_index_is_not_made_again(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    with pytest.raises(IndexUnusable, match="cannot be made"):
        await replace_damaged(root / ".convstore" / "index.db", FileIdentity(0, 0))
    assert not root.exists()


async def test_an_index_directory_that_went_alone_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / ".convstore" / "index.db"
    assert await replace_damaged(path, FileIdentity(0, 0))
    assert path.stat().st_size > 0


async def test_a_full_disk_while_an_index_is_replaced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".convstore" / "index.db"

    def refuse(one: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(one))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(IndexUnusable, match=r"cannot be used .No space left on device."):
        await replace_damaged(path, None)
