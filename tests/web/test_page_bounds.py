"""The bounds of the page that can be counted: bytes, requests, elements, files. `make bench` measures the times."""

from __future__ import annotations

import gzip

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.builders import make_conversation, make_id, make_meta
from tests.web.conftest import Site
from tests.web.logs import make_talkative_log

pytestmark = pytest.mark.long

SHELL_BYTES = 40_000
SHELL_REQUESTS = 12
LIST_ELEMENTS = 1500
TALK_ELEMENTS = 3000
COUNT = "() => document.querySelectorAll('*').length"


@pytest.mark.parametrize("path", ["/", f"/c/{make_id(1)}", "/overview"])
def test_shell_styles_and_scripts_are_small_and_few(site: Site, path: str) -> None:
    own: list[str] = []
    kinds = ("document", "stylesheet", "script", "image", "other")
    site.page.on("request", lambda one: own.append(one.url) if one.resource_type in kinds else None)
    site.open(path)
    assert 5 < len({*own}) <= SHELL_REQUESTS, own  # Chromium asks again whether the icons are the same
    scripts = [url for url in own if url.endswith(".js")]
    assert sorted({*scripts}) == sorted(scripts)  # a preloaded module is not asked for again
    assert sum(len(gzip.compress(httpx.get(url).content)) for url in {*own}) <= SHELL_BYTES


def test_the_list_is_two_requests_with_few_elements(site: Site) -> None:
    asked: list[str] = []
    site.page.on(
        "request", lambda one: asked.append(one.url.removeprefix(site.url)) if one.resource_type == "fetch" else None
    )
    page = site.open("/")
    assert page.locator(".row[data-id]").count() == 50
    assert [path.partition("?")[0] for path in asked] == ["/ui/list", "/ui/list/activity", "/api/changes/stream"]
    assert page.evaluate(COUNT) <= LIST_ELEMENTS


def test_a_page_at_rest_draws_nothing(site: Site) -> None:
    """Something that moves all the time takes a tenth of a core where no graphics card draws it."""
    path = make_conversation(site.root, 404, meta=make_meta(make_id(404)), state={"execution_status": "running"})
    page = site.open(f"/c/{path.name}")
    expect(page.locator("#live")).to_contain_text("Live")
    expect(page.locator(".facts .st")).to_have_text("running")
    assert page.evaluate("document.getAnimations().length") == 0
    site.open("/?status=running")
    page.wait_for_selector(".row .st.running")
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_long_conversation_has_few_elements_wherever_one_scrolls(site: Site) -> None:
    make_conversation(site.root, 400, meta=make_meta(make_id(400), title="Long"), events=make_talkative_log())
    page = site.open(f"/c/{make_id(400)}#e0")
    page.wait_for_selector("#e0.cur")
    most, steps = 0, 0
    while (last := page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")) is False:
        most = max(most, page.evaluate(COUNT))
        page.mouse.wheel(0, 4000)
        _settle(page)
        steps += 1
        assert steps < 200
    assert last
    assert steps > 3
    assert most <= TALK_ELEMENTS


def _settle(page: Page) -> None:
    """Wait until what is near the window is filled."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_selector(".ev:visible")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
