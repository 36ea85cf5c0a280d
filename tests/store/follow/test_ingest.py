"""Reading changed conversations again: what was read is written only if nothing newer came meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app import Settings
from app.files.layout import ConversationDir
from app.files.metadata_reader import Reader
from app.files.row_reader import read_rows
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.follow.full_sync import SyncReport
from app.store.follow.ingest import ingest
from app.store.follow.rebuild import rebuild
from tests.builders import make_conversation, make_id, make_meta
from tests.conftest import StoreOpener


async def rebuilt(root: Path, *, force: bool = False) -> SyncReport:
    return await rebuild(Settings(store=root), lambda *_: None, force=force)


async def test_what_was_read_before_a_rebuild_does_not_replace_what_the_rebuild_read(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_rebuild(reader: Reader, named: Sequence[ConversationDir], known: Mapping[str, bytes]) -> Any:
        read = read_rows(reader, named, known)
        monkeypatch.setattr("app.store.follow.ingest.read_rows", read_rows)
        (root / make_id(1) / "meta.json").write_text(json.dumps(make_meta(make_id(1), title="Changed")))
        asyncio.run(rebuilt(root))
        return read

    make_conversation(root, 1)
    async with open_store(root) as store:
        monkeypatch.setattr("app.store.follow.ingest.read_rows", read_and_rebuild)
        await ingest(store.context, [ConversationDir(make_id(1), ConversationId(make_id(1)))])
        assert await store.count_conversations(ConversationFilter(title_contains="changed")) == 1
