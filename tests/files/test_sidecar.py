"""convstore.json: its fields are set, and all else stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import ConversationNotFound
from app.files import lease, liveness
from app.files.layout import SIDECAR
from app.files.sidecar import set_flags
from tests.builders import make_conversation, make_id

ME = "convstore-me"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"archived": True}),
        ('{"pinned": true, "unknown": 1}', {"pinned": True, "unknown": 1, "archived": True}),
        ("torn", {"archived": True}),
        ("[]", {"archived": True}),
        ('\ufeff{"pinned": true}', {"pinned": True, "archived": True}),
        ('{"pinned": true, "unkn', {"pinned": True, "archived": True}),
    ],
)
def test_flags_are_set_and_the_lease_is_given_back(root: Path, before: str | None, after: dict[str, object]) -> None:
    path = make_conversation(root)
    (path / "base_state.json").write_text("torn")
    if before is not None:
        (path / SIDECAR).write_text(before)
    with liveness.stay_alive(root, ME):
        set_flags(root, path.name, ME, {"archived": True})
        assert lease.find_holder(root, path.name) is None
    assert json.loads((path / SIDECAR).read_text()) == after


def test_nothing_is_made_where_there_is_no_conversation(root: Path) -> None:
    with liveness.stay_alive(root, ME), pytest.raises(ConversationNotFound):
        set_flags(root, make_id(1), ME, {"archived": True})
