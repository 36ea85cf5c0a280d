"""The recipes of the docs, as they have them."""

from __future__ import annotations

import re

from tests.documents import TEXT


def recipe(language: str) -> str:
    """Return the one block of a language in the docs."""
    [block] = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(block)
