"""The README and the pages in docs/, as the tests read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
"""The text of each page by its path."""

TEXT = "\n".join(PAGES.values())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
