"""What the tests of imports share."""

from __future__ import annotations

from pathlib import Path

from app.model.archive_format import OWN_ARCHIVE, ExportFormat
from app.model.filters import ConversationFilter
from app.store.admin.archive_export import ExportReport, export, list_named
from app.store.admin.archive_import import PlannedImport, import_conversations
from app.store.store import ConversationStore
from app.web.encoders import find_encoder


async def exported(store: ConversationStore, kind: ExportFormat, *, with_secrets: bool = False) -> bytes:
    named = list_named(store, ConversationFilter())
    chunks = export(store.reader, named, kind, ExportReport(), with_secrets=with_secrets, encoder=find_encoder(kind))
    return b"".join([chunk async for chunk in chunks])


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file of a store but convstore's own and locks, by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(root / ".convstore") and path.suffix != ".lock"
    }


def written(archive: Path, raw: bytes) -> Path:
    archive.write_bytes(raw)
    return archive


async def imported(store: ConversationStore, archive: Path, **how: object) -> list[PlannedImport]:
    return await import_conversations(store, [archive], OWN_ARCHIVE, **how)  # type: ignore[arg-type]
