"""A real server process and a real browser, where Chromium is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.api.sessions import make_code
from tests.builders import make_conversation, make_event, make_id, make_message_event, make_meta
from tests.cli.test_serve import served, wait_until_in_step
from tests.web.logs import EVERY_KIND

KEY = "a-key-of-the-page"
READ_KEY = "a-read-only-key-of-the-page"

_ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
]  # fmt: skip
"""Without the last ones Chromium asks for hosts elsewhere."""

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser. It runs a loop in this thread, so it ends before tests of other modules begin theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_ARGUMENTS)
        yield browser
        browser.close()


class Site(NamedTuple):
    """A served store: where it is, its directory, and a page of a browser that is signed in."""

    url: str
    root: Path
    page: Page
    errors: list[str]

    def open(self, path: str) -> Page:
        """Open an address of the page, and wait until it shows something."""
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_selector(".rows, .talk, .tiles, .compare, main table, .state:not([role])")
        return self.page


@pytest.fixture(scope="session")
def served_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("page") / "conversations"
    root.mkdir()
    make_conversation(root, events=EVERY_KIND)
    for number in range(2, 70):
        title = f"Conversation {number}"
        make_conversation(
            root, number, meta=make_meta(make_id(number), title=title), events=[make_message_event(0, f"say {number}")]
        )
    long = [
        make_event(seq, source="agent") if seq % 10 else make_message_event(seq, f"turn {seq}") for seq in range(1200)
    ]
    make_conversation(root, 100, meta=make_meta(make_id(100), title="A long one"), events=long)
    with served(root, CONVSTORE_API_KEY=KEY, CONVSTORE_READ_KEYS=READ_KEY) as server:
        wait_until_in_step(server.url, KEY)
        yield server.url, root


@contextmanager
def signed_in(browser: Browser, url: str, root: Path, wanted: str = ".rows") -> Iterator[Site]:
    """Yield a page of a store that is signed in and has `wanted`. Fail if the browser's console said an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(f"{said.text} {said.location}") if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{url}/#login={make_code(root / '.convstore')}")
    page.wait_for_selector(wanted)
    yield Site(url, root, page, errors)
    context.close()
    assert errors == []


@pytest.fixture
def site(browser: Browser, served_store: tuple[str, Path]) -> Iterator[Site]:
    """A page that is signed in, of the store that the tests share."""
    with signed_in(browser, *served_store) as site:
        yield site
