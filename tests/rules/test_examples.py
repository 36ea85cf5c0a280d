"""The Python examples of the docs run, and print what the docs say."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import DATA
from tests.documents import PAGES

_EXAMPLE = re.compile(
    r"<!-- tested: .*? -->\n```python\n(.*?)```\n\nIt prints(?: `([^`]*)`|:\n\n((?:    [^\n]*\n)+))", re.DOTALL
)

EXAMPLES = [
    pytest.param(code, f"{line}\n" if line else dedent(lines), id=f"{page} {place}")
    for page, text in PAGES.items()
    for place, (code, line, lines) in enumerate(_EXAMPLE.findall(text))
]


def test_every_example_that_is_said_to_be_tested_is() -> None:
    assert len(EXAMPLES) == sum(text.count("<!-- tested:") for text in PAGES.values()) > 0


@pytest.mark.long
@pytest.mark.parametrize(("code", "printed"), EXAMPLES)
def test_an_example_prints_what_its_page_says(code: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "workspace" / "conversations").mkdir(parents=True)
    for name in ("conversations.tar.gz", "sample.tar.gz"):
        with tarfile.open(DATA / name) as archive:
            archive.extractall(tmp_path / ".sample", filter="data")
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == (printed, "")
