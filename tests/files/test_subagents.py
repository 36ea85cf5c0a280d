"""Conversations of sub-agents on disk."""

from __future__ import annotations

from pathlib import Path

from app.files import layout, subagents
from app.files.layout import Kind
from tests.builders import make_conversation, make_id

ONE, TWO, THREE = (make_id(number) for number in (1, 2, 3))
BELOW = f"{ONE}/subagents/{TWO}"
DEEPER = f"{BELOW}/subagents/{THREE}"


def make_subagents(root: Path) -> None:
    for path, number in ((root, 1), (root / ONE / "subagents", 2), (root / BELOW / "subagents", 3)):
        made = make_conversation(path, number)
        if number > 1:
            (made / "meta.json").unlink()


def test_they_are_found_at_any_depth(root: Path) -> None:
    make_subagents(root)
    (root / ONE / "subagents" / "notes").mkdir()
    assert [one.directory for one in subagents.list_below(root, ONE)] == [BELOW, DEEPER]
    assert [one.id for one in subagents.list_below(root, ONE)] == [TWO, THREE]
    assert subagents.list_all(root) == ([ONE, BELOW, DEEPER], [])
    assert layout.find_kind(root, DEEPER) is Kind.CONVERSATION


def test_one_that_is_elsewhere_too_is_a_duplicate(root: Path) -> None:
    make_subagents(root)
    make_conversation(root, 2)
    assert subagents.list_all(root) == ([ONE, DEEPER, TWO], [BELOW])


def test_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    make_subagents(root)
    (root / ONE / "subagents").rename(tmp_path / "elsewhere")
    (root / ONE / "subagents").symlink_to(tmp_path / "elsewhere")
    assert subagents.list_below(root, ONE) == []
    assert layout.find_kind(root, BELOW) is Kind.OTHER
