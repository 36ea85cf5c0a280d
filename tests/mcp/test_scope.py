"""The limit of a server to one directory."""

from __future__ import annotations

import pytest

from app.mcp.scope import Scope, is_below
from app.model.filters import ConversationFilter


@pytest.mark.parametrize(
    ("asked", "narrowed"),
    [(None, "/p"), ("/p", "/p"), ("/p/inner", "/p/inner"), ("/", "/p"), ("/p-old", None), ("/q", None)],
)
def test_a_filter_never_leaves_the_scope(asked: str | None, narrowed: str | None) -> None:
    found = Scope("/p").narrow(ConversationFilter(workspace_under=asked))
    assert found == (None if narrowed is None else ConversationFilter(workspace_under=narrowed))


def test_without_a_limit_all_is_shown() -> None:
    assert Scope().narrow(ConversationFilter()) == ConversationFilter()
    assert Scope().admits(None)


@pytest.mark.parametrize(
    ("workspace", "admitted"), [("/p", True), ("/p/", True), ("/p/a", True), ("/pa", False), (None, False)]
)
def test_a_conversation_is_in_the_scope_by_its_directory(workspace: str | None, *, admitted: bool) -> None:
    assert Scope("/p/").admits(workspace) is admitted


def test_directories_of_windows_are_compared_too() -> None:
    assert is_below("C:\\work\\a", "C:\\work")
    assert not is_below("C:\\workshop", "C:\\work")
