"""The recipes of the README, as it has them."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def recipe(language: str) -> str:
    """Return the README's one block of a language."""
    [block] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(block)
