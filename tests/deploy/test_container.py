"""The image of the docs takes what it is built of, and nothing else that lies in the directory."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.recipes import recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        *((name, False) for name in (".git", ".venv", ".sample", ".mypy_cache", "dist")),
        *((name, True) for name in ("app", "migrations", "alembic.ini", "pyproject.toml", "README.md")),
    ],
)
def test_what_is_made_here_is_no_part_of_an_image(name: str, copied: bool) -> None:
    assert "COPY . /src" in recipe("dockerfile")
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert any(fnmatch(name, pattern) for pattern in patterns) != copied
