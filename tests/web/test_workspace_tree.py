"""Working directories as a tree."""

from __future__ import annotations

from typing import Any

import pytest

from app.web.workspace_tree import Directory, make_tree


def shown(directories: list[Directory]) -> list[Any]:
    return [(one.label, one.path, one.number, shown(one.below)) for one in directories]


@pytest.mark.parametrize(
    ("counted", "tree"),
    [
        ([], []),
        ([("/a/b", 3)], [("/a/b", "/a/b", 3, [])]),
        ([("/h/x/a", 1), ("/h/x/b", 2)], [("/h/x/b", "/h/x/b", 2, []), ("/h/x/a", "/h/x/a", 1, [])]),
        (
            [("/h/ws", 1), ("/h/ws/one/project", 2), ("/h/ws/two", 3)],
            [
                (
                    "/h/ws", "/h/ws", 6,
                    [("two", "/h/ws/two", 3, []), ("one/project", "/h/ws/one/project", 2, [])],
                )
            ],
        ),
        (
            [("/h/a", 1), ("/h/runs/1", 1), ("/h/runs/2", 1)],
            [
                ("/h/runs", "/h/runs", 2, [("1", "/h/runs/1", 1, []), ("2", "/h/runs/2", 1, [])]),
                ("/h/a", "/h/a", 1, []),
            ],
        ),
        ([("C:\\w", 1), (".", 2), ("/", 4)], [("/", "/", 4, []), (".", ".", 2, []), ("C:\\w", "C:\\w", 1, [])]),
        ([("/", 1), ("/a", 2)], [("/", "/", 3, [("a", "/a", 2, [])])]),
    ],
)  # fmt: skip
def test_directories_with_one_way_down_merge_and_the_common_one_is_left_out(
    counted: list[tuple[str, int]], tree: list[Any]
) -> None:
    assert shown(make_tree(counted)) == tree
