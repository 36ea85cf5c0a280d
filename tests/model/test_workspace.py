"""Working directories as filters compare them."""

from __future__ import annotations

import pytest

from app.model.workspace import WORKSPACE_MAX, find_below, normalize_workspace


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/p", "/p"),
        ("/p/", "/p"),
        ("/p//", "/p"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
        (".", "."),
        ("/a\\", "/a\\"),
        ("/e\u0301", "/\u00e9"),
        ("C:\\Users\\", "C:\\Users"),
        ("C:/Users/", "C:/Users"),
        ("C:\\", "C:\\"),
        ("C:/", "C:/"),
        ("\\\\host\\share\\", "\\\\host\\share"),
        (" /p ", " /p "),
    ],
)
def test_a_path_has_one_spelling(path: str, normal: str) -> None:
    assert normalize_workspace(path) == normal
    assert normalize_workspace(normal) == normal


def test_a_long_path_is_bounded_and_found_by_what_is_shown() -> None:
    bounded = normalize_workspace("/" + "d" * 5000)
    assert (len(bounded), normalize_workspace(bounded)) == (WORKSPACE_MAX, bounded)
    assert normalize_workspace("/" + "d" * (WORKSPACE_MAX - 1)) == "/" + "d" * (WORKSPACE_MAX - 1)


@pytest.mark.parametrize(
    ("directory", "below", "beside"),
    [
        ("/p", ["/p/a", "/p/a/b", "/p/", "/p/\U0010ffff"], ["/p", "/p-old", "/p.x", "/p0", "/pa", "/", "/o/a"]),
        ("/", ["/p", "/p/a"], [".", "C:\\"]),
        ("C:\\", ["C:\\a", "C:\\a\\b"], ["C:", "C:/a", "D:\\a"]),
        ("C:\\a", ["C:\\a\\b"], ["C:\\a", "C:\\ab", "C:\\a-b"]),
        ("C:/a", ["C:/a/b"], ["C:/ab"]),
        ("", ["/p"], ["p"]),
    ],
)
def test_what_is_below_a_directory_is_one_range(directory: str, below: list[str], beside: list[str]) -> None:
    first, end = find_below(directory)
    assert [path for path in below if not first <= path < end] == []
    assert [path for path in beside if first <= path < end] == []
