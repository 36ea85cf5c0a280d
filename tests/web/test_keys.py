"""The page with the keyboard alone: every screen, and each key that it names."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.builders import make_conversation, make_id, make_message_event, make_meta
from tests.web.conftest import Site
from tests.web.logs import EVERY_KIND
from tests.web.test_states import add

pytestmark = pytest.mark.long

FOCUS = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const box = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    const hit = one.querySelector('.hit');
    const outlined = style.outlineStyle !== 'none' || (hit && getComputedStyle(hit).stroke !== 'none');
    const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    one.dataset.visited = '';
    return { what: one.outerHTML.slice(0, 120), good: outlined && seen };
}"""
LEFT = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
    .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !('visited' in one.dataset) && !one.disabled)
    .map((one) => one.outerHTML.slice(0, 120))"""


def focused(page: Page) -> str:
    """Return the text of the element with the focus, and fail if one does not see that it has it."""
    found = page.evaluate(FOCUS)
    assert found, "nothing has the focus"
    assert found["good"], found["what"]
    return str(page.evaluate("document.activeElement.textContent"))


def compare_path(number: int) -> str:
    return f"/compare?a={make_id(1)}&b={make_id(number)}"


@pytest.mark.parametrize(
    "path", ["/?title__contains=7", f"/c/{make_id(1)}#e0", "/overview?days=0", "/trash", compare_path(2),
             "/edits?path=/home/dev/project/a.py"],
)  # fmt: skip
def test_tab_reaches_all_that_can_be_used_and_shows_where_it_is(site: Site, path: str) -> None:
    if path == "/trash":
        add(site, 480, meta={"title": "In the trash"})
        site.page.keyboard.press("#")
        expect(site.page.locator("#notice")).to_contain_text("Moved to the trash.")
    page = site.open(path)
    page.wait_for_selector("#activity a, .ev, #main table, .compare")
    for _ in range(250):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUS)
        if found is None:
            break
        assert found["good"], found["what"]
    assert page.evaluate(LEFT) == []


def test_each_key_of_the_list_does_what_it_says_and_keeps_the_focus(site: Site) -> None:
    for number in (481, 482, 483):
        add(site, number, meta=make_meta(make_id(number), title=f"Walked {number}"))
    page = site.open("/?title__contains=Walked")
    rows = page.locator("#rows > .row[data-id]")
    expect(rows).to_have_count(3)
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
    first = focused(page)
    page.keyboard.press("s")
    expect(rows.first).to_have_attribute("data-pinned", "")
    assert focused(page) == first
    page.keyboard.press("z")
    expect(page.locator("[data-pinned]")).to_have_count(0)
    page.keyboard.press("l")
    page.keyboard.type("walk=yes")
    page.keyboard.press("Enter")
    expect(rows.first.locator(".tag")).to_have_text("walk=yes")
    assert focused(page) == first
    page.keyboard.press("x")
    expect(page.locator("#selected")).to_have_text("1")
    page.keyboard.press("e")
    expect(rows).to_have_count(2)
    page.keyboard.press("z")
    expect(rows).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("#")
    expect(rows).to_have_count(2)
    page.keyboard.press("z")
    expect(rows).to_have_count(3)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Space")  # single keys off
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") != "search"
    page.click("#help")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("walked")
    expect(page).to_have_url(re.compile("q=walked"))
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk")


def test_each_key_of_a_conversation_does_what_it_says(site: Site) -> None:
    page = site.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    make_conversation(site.root, 485, meta=make_meta(make_id(485), title="Walked through"), events=EVERY_KIND)
    site.open(f"/c/{make_id(485)}#e0")
    page.wait_for_selector(".ev.cur")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+J")
    page.wait_for_selector("#e1.cur")
    page.keyboard.press("Shift+J")
    page.wait_for_selector("#e15.cur")
    page.keyboard.press("Shift+K")
    page.wait_for_selector("#e1.cur")
    for key in ("j", "j"):
        page.keyboard.press(key)
    page.wait_for_selector("#e4.cur")
    focused_seq = "document.activeElement.dataset.seq"
    assert page.evaluate(focused_seq) == "4"
    page.keyboard.press("Enter")
    expect(page.locator("#e4 details")).to_have_attribute("open", "")
    expect(page.locator("#e4 table.diff")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#e4 table.diff")).to_be_hidden()
    page.keyboard.press("n")
    page.wait_for_selector("#e8.cur")
    page.keyboard.press("n")
    page.wait_for_selector("#e9.cur")
    page.keyboard.press("p")
    page.wait_for_selector("#e8.cur")
    page.keyboard.press("v")
    expect(page).to_have_url(re.compile("view=said"))
    page.keyboard.press("/")
    page.keyboard.type("fix")
    page.keyboard.press("Enter")
    expect(page.locator("#findbar output")).to_have_text(re.compile("1 of"))
    expect(page.locator("#findbar")).to_be_in_viewport()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.wait_for_selector("article#e2")
    page.keyboard.press("c")
    expect(page.locator("#notice")).to_contain_text("Copied")
    page.keyboard.press("s")
    expect(page.locator("[data-act=pin]")).to_have_text("Pinned")
    page.keyboard.press("z")
    expect(page.locator("[data-act=pin]")).to_have_text("Pin")
    page.keyboard.press("l")
    expect(page.locator("#ask")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    page.keyboard.press("f")
    expect(page.locator("#live")).to_contain_text("following")
    page.keyboard.press("u")
    page.wait_for_selector(".rows")
    for keys, path in (("go", "/overview"), ("gt", "/trash"), ("gl", "/")):
        page.keyboard.type(keys)
        page.wait_for_url(f"{site.url}{path}")
        page.wait_for_selector(".tiles, .rows, #main h1")


def test_what_is_typed_into_find_presses_no_key_of_the_page(site: Site) -> None:
    make_conversation(site.root, 486, meta=make_meta(make_id(486)), events=[make_message_event(0, "see the sea")])
    page = site.open(f"/c/{make_id(486)}")
    page.wait_for_selector(".ev.cur")
    page.keyboard.press("v")
    page.keyboard.press("/")
    page.keyboard.type("sees")  # `s` pins and `e` archives
    expect(page.locator("[data-said]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.type("ea")
    expect(page.locator("#findbar-q")).to_have_value("seesea")
    expect(page.locator("[data-act=archive]")).to_have_text("Archive")
