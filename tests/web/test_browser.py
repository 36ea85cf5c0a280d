"""The page in a real browser, under its own Content-Security-Policy."""

from __future__ import annotations

import json
from pathlib import Path

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, Page, expect

from app.api.sessions import make_code
from tests.builders import make_conversation, make_event, make_id, make_message_event, make_meta, write_event
from tests.web.conftest import KEY, READ_KEY, Site
from tests.web.logs import EVERY_KIND

pytestmark = pytest.mark.long

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
ONE = f"/c/{make_id(1)}"
LONG = f"/c/{make_id(100)}"


def find_violations(page: Page) -> list[str]:
    page.evaluate(AXE)
    found = page.evaluate("axe.run().then((found) => found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`))")
    return list(found)


def test_an_address_signs_in_once_and_leaves_no_code_behind(browser: Browser, served_store: tuple[str, Path]) -> None:
    url, root = served_store
    address = f"{url}/#login={make_code(root / '.convstore')}"
    for works in (True, False):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(".rows" if works else "#sign-in-form")
        assert "login" not in page.url
        context.close()


def test_an_address_signs_in_where_the_form_is_open(browser: Browser, served_store: tuple[str, Path]) -> None:
    url, root = served_store
    page = browser.new_context().new_page()
    page.goto(url)
    page.wait_for_selector("#sign-in-form")
    page.goto(f"{url}/#login={make_code(root / '.convstore')}")  # nothing but what is behind # differs
    page.wait_for_selector(".rows")
    assert "login" not in page.url
    page.context.close()


def test_the_key_signs_in_and_signing_out_forgets(browser: Browser, served_store: tuple[str, Path]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(served_store[0])
    page.fill("input[name=key]", "wrong")
    page.click("#sign-in-form button")
    expect(page.locator("#sign-in-form [role=alert]")).to_have_text("this is not a key of this server")
    page.fill("input[name=key]", KEY)
    page.click("#sign-in-form button")
    page.wait_for_selector(".rows")
    page.click("#sign-out")
    page.wait_for_selector("#sign-in-form")
    page.reload()
    page.wait_for_selector("#sign-in-form")
    context.close()


def test_a_read_only_key_shows_no_actions(browser: Browser, served_store: tuple[str, Path]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{served_store[0]}{ONE}")
    page.fill("input[name=key]", READ_KEY)
    page.click("#sign-in-form button")
    page.wait_for_selector("[data-act=export]")
    shown = page.locator("[data-act]").evaluate_all(
        "(all) => all.filter((one) => one.checkVisibility()).map((one) => one.dataset.act)"
    )
    assert shown == ["export", "compare", "continue"]
    page.click("#help")
    expect(page.locator("#keylist")).to_contain_text("Copy how to continue")
    expect(page.locator("#keylist")).not_to_contain_text("Delete")
    context.close()


def test_the_list_scrolls_on_and_filters_keep_the_address(site: Site) -> None:
    page = site.open("/")
    assert page.locator(".row[data-id]").count() == 50
    page.mouse.wheel(0, 100_000)
    expect(page.locator(".row[data-id]")).to_have_count(70)
    page.click("#side a[title=finished]")
    expect(page.locator(".chip")).to_contain_text("status: finished")
    expect(page).to_have_url(f"{site.url}/?status=finished")
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)


def test_typing_searches_and_a_hit_leads_to_its_event(site: Site) -> None:
    page = site.open("/")
    page.keyboard.press("/")
    page.keyboard.type("fix")
    expect(page).to_have_url(f"{site.url}/?q=fix")
    expect(page.locator("h1")).to_have_text("1 conversation")
    page.click(".hit a")
    page.wait_for_selector("#e1.cur")
    assert "#e1" in page.url


def test_the_keyboard_alone_reaches_a_conversation_and_back(site: Site) -> None:
    page = site.open("/")
    for key in ("j", "j", "k", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector(".talk")
    page.keyboard.press("u")
    page.wait_for_selector(".rows")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.type("gt")
    page.wait_for_url("**/trash")


def test_every_event_is_shown_folded_or_unreadable(site: Site) -> None:
    page = site.open(f"{ONE}#e0")
    page.wait_for_selector("#e0")
    numbers = page.locator("[data-seq]").evaluate_all("(all) => all.map((one) => Number(one.dataset.seq))")
    assert sorted(numbers) == list(range(len(EVERY_KIND)))
    for button in page.locator("[data-group][aria-pressed=false]").all():
        button.click()
    page.click("article#e4 summary")
    expect(page.locator("article#e4 table.diff tr.a")).to_contain_text("return 2")
    expect(page.locator("article#e6 details[open] .out")).to_contain_text("no rule")
    expect(page.locator("article#e1 img")).to_be_visible()


def test_a_long_log_keeps_few_elements_and_jumps_anywhere(site: Site) -> None:
    page = site.open(LONG)
    page.wait_for_selector("#e1190.cur")
    assert page.locator("#log *").count() < 3000
    page.keyboard.press("Home")
    page.wait_for_selector("#e0.cur")
    expect(page.locator("#e0")).to_be_in_viewport()
    page.evaluate("location.hash = '#e600'")
    page.wait_for_selector("#e600.cur")
    assert page.evaluate("document.querySelector('#e600').getBoundingClientRect().top") == pytest.approx(70, abs=1)
    assert page.locator("#log *").count() < 3000


def test_an_event_on_disk_is_on_the_screen_soon(site: Site) -> None:
    directory = make_conversation(site.root, 200, meta=make_meta(make_id(200), title="Live"), events=[make_event(0)])
    page = site.open(f"/c/{make_id(200)}")
    expect(page.locator("#live")).to_contain_text("Live")
    write_event(directory, 1, make_message_event(1, "just appended"))
    expect(page.locator("#e1")).to_contain_text("just appended")
    expect(page.locator("#count")).to_have_text("2")


def test_rename_tag_pin_archive_delete_and_undo(site: Site) -> None:
    make_conversation(site.root, 201, meta=make_meta(make_id(201), title="To change"), events=[make_event(0)])
    page = site.open(f"/c/{make_id(201)}")
    page.click("[data-act=rename]")
    page.fill("#ask input", "Renamed <b>")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Renamed <b>")
    page.click("[data-act=tag]")
    page.fill("#ask input", "area=auth, team=core")
    page.keyboard.press("Enter")
    expect(page.locator(".facts .tag")).to_have_text(["area=auth", "team=core"])
    page.click("[data-act=pin]")
    expect(page.locator("[data-act=pin]")).to_have_text("Pinned")
    page.click("[data-act=archive]")
    expect(page.locator("[data-act=archive]")).to_have_text("Archived")
    kept = json.loads((site.root / make_id(201) / "convstore.json").read_text())
    assert (kept["pinned"], kept["archived"]) == (True, True)
    page.click("[data-act=delete]")
    expect(page.locator("#live b")).to_have_text("Gone")
    assert not (site.root / make_id(201)).exists()
    with page.expect_navigation():
        page.click("#notice button")
    page.wait_for_selector(".talk")
    assert (site.root / make_id(201)).is_dir()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation_on_any_screen(site: Site, width: int, theme: str) -> None:
    site.page.set_viewport_size({"width": width, "height": 860})
    site.page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    screens = {
        "/": "#activity a",
        "/?q=say": "#activity a",
        "/?status=stuck": ".state",
        ONE: ".ev.cur",
        "/overview?days=0": "#disk table",
        "/trash": ".state, main table",
        f"/compare?a={make_id(1)}&b={make_id(2)}": ".compare",
    }
    for path, last in screens.items():
        page = site.open(path)
        page.wait_for_selector(last, state="attached")
        assert find_violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation_in_any_state(site: Site, width: int, theme: str) -> None:
    page = site.page
    page.set_viewport_size({"width": width, "height": 860})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")

    def check(state: str) -> None:
        assert find_violations(page) == [], state
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state

    site.open("/?q=nothing+has+this&status=stuck")
    check("no match")
    site.open("/")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator("#bulk")).to_be_visible()
    check("selected rows")
    page.keyboard.press("l")
    expect(page.locator("#ask")).to_be_visible()
    check("a dialog")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    check("the keys")
    page.keyboard.press("Escape")
    site.open(f"{ONE}#e0")
    page.wait_for_selector("#e0.cur")
    page.locator("details[data-event]").evaluate_all("(all) => { for (const one of all) one.open = true; }")
    expect(page.locator("details[data-event] .inside:empty")).to_have_count(0)
    check("events of every kind, open")
    page.keyboard.press("/")
    page.keyboard.type("fix")
    page.keyboard.press("Enter")
    expect(page.locator("#findbar output")).to_contain_text("1 of 1")
    check("find")
    page.keyboard.press("Escape")
    if width < 900:
        page.click("[data-folds]")
        check("the outline, unfolded")
    page.goto(f"{site.url}/c/{make_id(998)}")
    expect(page.locator("#main .state")).to_contain_text("No conversation has this id.")
    check("no such conversation")
    site.open("/edits?path=/home/dev/project/a.py")
    check("the changes of a file")
    page.click("#sign-out")
    page.wait_for_selector("#sign-in-form")
    check("the form that asks for the key")
    site.errors[:] = [one for one in site.errors if "404" not in one]


def test_at_200_percent_nothing_is_wider_than_the_window(site: Site) -> None:
    site.page.set_viewport_size({"width": 640, "height": 430})
    compare = f"/compare?a={make_id(1)}&b={make_id(2)}"
    for path in ("/", "/?q=say", f"{ONE}#e0", "/overview?days=0", "/trash", compare):
        page = site.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, path


def test_a_page_of_another_port_reads_and_changes_nothing(site: Site, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto("data:text/html,<p>an attacker</p>")
    outcome = page.evaluate(
        """async (url) => {
            const read = await fetch(`${url}/ui/list`).then((answer) => answer.status, () => "refused");
            const write = await fetch(`${url}/api/session`, {method: "POST", body: '{"code": "x"}',
                headers: {"Content-Type": "application/json"}}).then((answer) => answer.status, () => "refused");
            return [read, write];
        }""",
        site.url,
    )
    assert outcome == ["refused", "refused"]
    context.close()


def test_finding_in_a_conversation_goes_from_hit_to_hit(site: Site) -> None:
    page = site.open(f"{LONG}#e0")
    page.wait_for_selector("#e0.cur")
    page.keyboard.press("/")
    page.keyboard.type("turn")
    page.keyboard.press("Enter")
    expect(page.locator("#findbar output")).to_have_text("1 of 120 hits")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#findbar output")).to_have_text("120 of 120 hits")
    expect(page.locator("#e1190")).to_be_in_viewport()
    assert find_violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#findbar")).to_be_hidden()


def test_the_first_event_and_one_behind_a_gap_are_on_the_screen_soon(site: Site) -> None:
    number = 301
    directory = make_conversation(site.root, number, events=[])
    page = site.page
    page.goto(f"{site.url}/c/{make_id(number)}")
    expect(page.locator("#log")).to_have_text("No event yet.")
    expect(page.locator("#live")).to_be_visible()
    write_event(directory, 0, make_message_event(0, "the first"))
    expect(page.locator(".ev")).to_have_count(1)
    assert "No event yet" not in page.inner_text("#log")
    write_event(directory, 205, make_message_event(205, "far away"))
    expect(page.locator("article[data-seq='205']")).to_contain_text("far away")
    expect(page.locator("#count")).to_have_text("3")


def test_words_without_a_space_are_no_wider_than_the_screen(site: Site) -> None:
    number, word = 302, "W" * 200
    state = {"workspace": {"kind": "LocalWorkspace", "working_dir": f"/{word}"}}
    meta = {"title": word, "tags": {f"key{one}": word for one in range(30)}}
    make_conversation(site.root, number, meta=meta, state=state, events=[make_message_event(0, word)])
    site.page.set_viewport_size({"width": 390, "height": 800})
    for path in (f"/c/{make_id(number)}", f"/compare?a={make_id(number)}&b={make_id(1)}"):
        site.open(path)
        expect(site.page.locator("main")).to_contain_text(word)
        assert site.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_an_address_with_another_id_puts_nothing_on_the_clipboard(site: Site) -> None:
    page = site.page
    page.goto(f"{site.url}/c/x;touch$IFS'y'")
    expect(page.locator("#main")).to_contain_text("No conversation has this id.")
    page.keyboard.press("c")
    page.wait_for_timeout(300)
    assert page.locator("#notice").is_hidden()
    site.errors.clear()


def test_the_tags_dialog_keeps_a_value_with_a_comma(site: Site) -> None:
    number, tags = 303, {"note": "one, two", "empty": ""}
    make_conversation(site.root, number, meta={"tags": tags}, state={"tags": tags})
    page = site.open(f"/c/{make_id(number)}")
    page.click("[data-act=tag]")
    box = page.locator("#ask input")
    box.fill(f"{box.input_value()}, more=3")
    page.keyboard.press("Enter")
    expect(page.locator(".facts .tag")).to_have_count(3)
    kept = page.get_attribute("[data-act=tag]", "data-tags")
    assert kept is not None
    assert json.loads(kept) == {"note": "one, two", "empty": "", "more": "3"}


def test_find_opens_the_step_that_has_the_hit_and_stays_in_sight(site: Site) -> None:
    page = site.open(f"{ONE}#e18")
    page.wait_for_selector("article[data-seq='18']")
    page.keyboard.press("/")
    page.fill("#findbar input", "pytest")
    page.press("#findbar input", "Enter")
    expect(page.locator("#findbar output")).to_have_text("1 of 1 hit")
    step = page.locator("article[data-seq='2'] details[data-event]")
    expect(step).to_have_attribute("open", "")
    expect(step.locator(".out")).to_have_text("ok")
    bar, found = page.locator("#findbar").bounding_box(), page.locator("article[data-seq='2']").bounding_box()
    assert bar is not None
    assert found is not None
    assert 0 < bar["y"] < bar["y"] + bar["height"] <= found["y"] + 1


def test_an_image_opens_large(site: Site) -> None:
    page = site.open(f"{ONE}#e1")
    page.click("article[data-seq='1'] button.shot")
    expect(page.locator("#large img")).to_have_attribute("alt", "Image 1 of the event")
    assert page.locator("#large img").evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    expect(page.locator("#large img")).to_have_count(0)


def test_an_event_of_an_unknown_kind_is_shown_as_a_tree(site: Site) -> None:
    page = site.open(f"{ONE}#e17")
    event = page.locator("article[data-seq='17']")
    expect(event).to_be_visible()
    event.locator("summary").first.click()
    expect(event.locator(".json > li:has(> b:text-is('field'))")).to_have_text("field 1")


def test_a_conversation_is_compared_with_another_of_its_workspace(site: Site) -> None:
    page = site.open(ONE)
    page.click("[data-act=compare]")
    page.click("#ask button[value]:has-text('Conversation 69')")
    page.wait_for_selector(".compare")
    expect(page.locator(".compare h2")).to_have_count(2)
    expect(page.locator(".compare h2").last).to_have_text("Conversation 69")


def test_a_search_looks_into_tools_where_the_user_asks_for_it(site: Site) -> None:
    page = site.open("/?q=pytest")
    expect(page.locator(".state").first).to_contain_text("Not searched: commands, paths and errors of tools")
    page.click("text=Search tools, too")
    expect(page.locator(".row[data-id] .hit")).to_have_text("agent 2pytest -q")
    assert "in=all" in page.url
    expect(page.locator("#look-in")).to_have_value("all")
    expect(page.locator(".sum")).to_contain_text("1 hit")
    page.select_option("#look-in", "said")
    expect(page.locator(".state").first).to_contain_text("No conversation matches")
    assert "in=" not in page.url
