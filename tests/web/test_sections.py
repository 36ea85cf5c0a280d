"""A conversation of 100,000 events in a real browser: it opens, jumps and grows as a short one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.bench.generate import add_long_conversation
from tests.builders import make_event, make_message_event, write_event
from tests.cli.test_serve import served, wait_until_in_step
from tests.web.conftest import KEY, Site, signed_in

pytestmark = pytest.mark.long

EVENTS = 100_000
AFTER_TURN = 8
LAST = EVENTS + AFTER_TURN
FIRST = 1
"""The first event that is shown: the system prompt before it is folded away."""
ELEMENTS = 3000
COUNT = "() => document.querySelectorAll('*').length"
TOP = "(seq) => document.querySelector(`#e${seq}`)?.getBoundingClientRect().top ?? null"
WATCH = """(seq) => {
    window.tops = new Set();
    const look = () => {
        const one = document.querySelector(`#e${seq}`);
        if (one?.matches('.cur')) window.tops.add(Math.round(one.getBoundingClientRect().top * 10) / 10);
        window.watching = requestAnimationFrame(look);
    };
    look();
}"""
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    root = tmp_path_factory.mktemp("long") / "conversations"
    root.mkdir()
    conversation = add_long_conversation(root, EVENTS)
    write_event(root / conversation, EVENTS, make_message_event(EVENTS, "the last turn"))
    for seq in range(EVENTS + 1, LAST + 1):
        write_event(root / conversation, seq, make_event(seq, source="agent"))
    with served(root, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        yield server.url, root, conversation


@pytest.fixture
def long_site(browser: Browser, long_store: tuple[str, Path, str]) -> Iterator[tuple[Site, str]]:
    url, root, conversation = long_store
    with signed_in(browser, url, root) as site:
        yield site, conversation


def is_at(page: Page, seq: int) -> None:
    """Wait until an event is the current one and in the window, and the page is small."""
    page.wait_for_selector(f"#e{seq}.cur")
    expect(page.locator(f"#e{seq}")).to_be_in_viewport()
    assert page.evaluate(COUNT) <= ELEMENTS


def settle(page: Page) -> None:
    """Wait until the sections near the window are filled."""
    page.evaluate(FRAMES)
    expect(page.locator(".part:empty")).to_have_count(0)
    page.evaluate(FRAMES)


def test_it_opens_at_the_last_turn_with_one_request(long_site: tuple[Site, str]) -> None:
    site, conversation = long_site
    asked: list[str] = []
    site.page.on("request", lambda one: asked.append(one.url) if "/ui/" in one.url else None)
    page = site.open(f"/c/{conversation}")
    is_at(page, EVENTS)
    assert "the last turn" in page.inner_text(f"#e{EVENTS}")
    assert "at=-1" in asked[0]
    settle(page)
    assert len(asked) <= 3


def test_home_end_and_jumps_reach_their_place_with_few_elements(long_site: tuple[Site, str]) -> None:
    site, conversation = long_site
    page = site.open(f"/c/{conversation}")
    is_at(page, EVENTS)
    page.keyboard.press("Home")
    is_at(page, FIRST)
    page.keyboard.press("End")
    expect(page.locator(f"[data-seq='{LAST}']")).to_be_in_viewport()
    for seq in (EVENTS // 2, 4, EVENTS - 1000, EVENTS // 3):
        page.evaluate("(seq) => { location.hash = `#e${seq}`; }", seq)
        page.wait_for_selector(f".ev.cur:is([data-seq='{seq}'], [data-with='{seq}'])")
        expect(page.locator(".ev.cur")).to_be_in_viewport()
        settle(page)
        assert page.evaluate(COUNT) <= ELEMENTS


def test_what_is_filled_in_above_moves_nothing(long_site: tuple[Site, str]) -> None:
    site, conversation = long_site
    page = site.open(f"/c/{conversation}")
    is_at(page, EVENTS)
    seq = EVENTS // 2  # the section above is empty and in the window
    page.evaluate(WATCH, seq)
    page.evaluate("(seq) => { location.hash = `#e${seq}`; }", seq)
    is_at(page, seq)
    page.wait_for_selector(f".part[data-from='{EVENTS // 2 - 50}'] .ev")
    settle(page)
    tops = page.evaluate("() => { cancelAnimationFrame(window.watching); return [...window.tops]; }")
    assert max(tops) - min(tops) <= 1, tops
    for _ in range(20):  # upwards, through sections that were never shown
        first = page.evaluate(
            "() => [...document.querySelectorAll('.ev')].find((e) => e.getBoundingClientRect().top > 100).dataset.seq"
        )
        before = page.evaluate(TOP, first)
        page.evaluate("scrollBy({ top: -400, behavior: 'instant' })")
        settle(page)
        assert page.evaluate(TOP, first) - before == pytest.approx(400, abs=1)


def test_a_scrollbar_that_is_drawn_anywhere_shows_events_there(long_site: tuple[Site, str]) -> None:
    site, conversation = long_site
    page = site.open(f"/c/{conversation}")
    is_at(page, EVENTS)
    for part in (0.7, 0.1, 0.5):
        page.evaluate("(part) => scrollTo(0, part * document.documentElement.scrollHeight)", part)
        page.evaluate(FRAMES)
        settle(page)
        shown = page.evaluate(
            "() => Number(document.elementFromPoint(600, 400).closest('.ev, .part').dataset.seq ?? -1)"
        )
        assert shown == -1 or abs(shown / EVENTS - part) < 0.05
        assert page.evaluate(COUNT) <= ELEMENTS


def test_an_appended_event_is_shown_with_two_requests(long_site: tuple[Site, str]) -> None:
    site, conversation = long_site
    page = site.open(f"/c/{conversation}")
    is_at(page, EVENTS)
    expect(page.locator("#live")).to_contain_text("following")
    settle(page)
    asked: list[str] = []
    site.page.on("request", lambda one: asked.append(one.url.partition(conversation)[2]))
    write_event(site.root / conversation, LAST + 1, make_message_event(LAST + 1, "just appended"))
    expect(page.locator(f"#e{LAST + 1}")).to_be_in_viewport()
    assert sorted(one.partition("?")[0] for one in asked[:2]) == ["/events", "/events/window"]
    page.keyboard.press("Home")
    is_at(page, FIRST)
    settle(page)
    asked.clear()
    write_event(site.root / conversation, LAST + 2, make_message_event(LAST + 2, "out of sight"))
    expect(page.locator("#live")).to_contain_text("1 new")
    assert "/events" not in [one.partition("?")[0] for one in asked]
    assert page.evaluate("scrollY") < 800
