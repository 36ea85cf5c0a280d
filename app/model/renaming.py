"""Giving a conversation's files another id: the values are replaced in the text, and every other byte stays."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from app.model.archive_format import ArchiveFile
from app.model.ids import ConversationId, dashed, find_conversation_id
from app.model.jsonlines import member_spans

_ID_FIELDS = {
    "meta.json": ("id", "conversation_id", "parent_conversation_id", "forked_from_conversation_id"),
    "base_state.json": ("id",),
}


def renamed(file: ArchiveFile, new_ids: Mapping[ConversationId, ConversationId]) -> ArchiveFile:
    """Return a file in which each id that has a new one is replaced by it, spelled as it was; damaged ones stay."""
    fields = _ID_FIELDS.get(file.name)
    if fields is None or not new_ids:
        return file
    try:
        text = file.raw.decode()
        spans = member_spans(text)
    except ValueError:
        return file
    for name, begin, end in reversed(spans):
        if name in fields:
            text = text[:begin] + _replaced(text[begin:end], new_ids) + text[end:]
    return ArchiveFile(file.name, text.encode())


def _replaced(raw: str, new_ids: Mapping[ConversationId, ConversationId]) -> str:
    value = orjson.loads(raw)
    old = find_conversation_id(value) if isinstance(value, str) else None
    new = new_ids.get(old) if old is not None else None
    if new is None:
        return raw
    return f'"{dashed(new) if "-" in value else new}"'
