"""Ids in the files of an archive that get another one."""

from __future__ import annotations

import pytest

from app.model.archive_format import ArchiveFile, with_new_ids
from app.model.ids import ConversationId, dashed
from tests.builders import make_id

OLD, NEW, OTHER = (ConversationId(make_id(number)) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("meta.json", '{"id": "%(old)s", "title": "%(old)s"}', '{"id": "%(new)s", "title": "%(old)s"}'),
        ("meta.json", '{"id":"%(dashed_old)s","n":1.50}\n', '{"id":"%(dashed_new)s","n":1.50}\n'),
        ("meta.json", '{"parent_conversation_id":"%(old)s"}', '{"parent_conversation_id":"%(new)s"}'),
        ("meta.json", '{"id":"%(old)s","id":"%(old)s"}', '{"id":"%(new)s","id":"%(new)s"}'),
        ("meta.json", '{"id":"%(old)s","cost":NaN}', '{"id":"%(new)s","cost":NaN}'),
        ("base_state.json", '{"agent":{"id":"%(old)s"},"id":"%(old)s"}', '{"agent":{"id":"%(old)s"},"id":"%(new)s"}'),
    ],
)
def test_an_id_is_replaced_as_it_was_spelled(name: str, text: str, expected: str) -> None:
    ids = {"old": OLD, "new": NEW, "dashed_old": dashed(OLD), "dashed_new": dashed(NEW)}
    renamed = with_new_ids(ArchiveFile(name, (text % ids).encode()), {OLD: NEW})
    assert renamed == ArchiveFile(name, (expected % ids).encode())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("events/event-00000-aaaaaaaa.json", f'{{"id":"{OLD}"}}'),
        ("meta.json", f'{{"id":"{OTHER}"}}'),
        ("meta.json", f'{{"id":"{OLD}"'),
        ("meta.json", f'["id","{OLD}"]'),
        ("meta.json", f'{{"id":"{OLD}","a":' + "[" * 99999),
        ("meta.json", '{"id":[1]}'),
    ],
)
def test_every_other_file_stays(name: str, text: str) -> None:
    file = ArchiveFile(name, text.encode())
    assert with_new_ids(file, {OLD: NEW}) == file
