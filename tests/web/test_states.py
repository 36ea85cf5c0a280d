"""The states of the page in a real browser: what a user sees when something is away, taken, deleted or hostile."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from struct import pack
from zipfile import ZipFile
from zlib import compress, crc32

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, Route, expect

from app.api.sessions import make_code
from app.index.sqlite import migrations
from tests.builders import (
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    make_meta,
    make_state,
    write_event,
)
from tests.cli.test_serve import served, wait_until_in_step
from tests.deploy.recipes import free_port
from tests.web.conftest import KEY, Site, signed_in
from tests.web.logs import EVERY_KIND
from tests.web.test_browser import find_violations
from tests.web.test_pages import HOSTILE, change_texts

pytestmark = pytest.mark.long


def add(site: Site, number: int, **fields: object) -> str:
    """Write a conversation, wait until the server lists it, and return its address."""
    make_conversation(site.root, number, **fields)  # type: ignore[arg-type]
    site.page.goto(f"{site.url}/c/{make_id(number)}")
    site.page.wait_for_selector(".talk")
    return f"/c/{make_id(number)}"


def each_look(page: Page) -> Iterator[str]:
    """Show a page in each width and theme, one after the other."""
    page.emulate_media(reduced_motion="reduce")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 860})
        for theme in ("light", "dark"):
            page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
            yield f"{width} {theme}"


def test_an_index_that_is_being_built_says_how_far_it_is(browser: Browser, tmp_path: Path) -> None:
    root, index = tmp_path / "conversations", tmp_path / "conversations" / ".convstore" / "index.db"
    make_conversation(root, 1, meta={"title": "Comes"}, state={"execution_status": "finished"})
    index.parent.mkdir()
    migrations.upgrade(index)
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the build cannot write
        with served(root, CONVSTORE_API_KEY=KEY) as server, signed_in(browser, server.url, root, "#building") as site:
            page = site.page
            expect(page.locator("#building")).to_contain_text("The index is being built: 0 conversations so far.")
            for state in each_look(page):
                assert find_violations(page) == [], state
            other.execute("ROLLBACK")
            expect(page.locator(".row[data-id]")).to_contain_text("Comes")
            expect(page.locator("#building")).to_have_count(0)


def test_an_export_of_selected_conversations_is_saved_as_a_file(site: Site, tmp_path: Path) -> None:
    for number in (475, 476):
        add(site, number, meta={"title": f"Exported {number}"})
    page = site.open("/?title__contains=Exported")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator("#selected")).to_have_text("2")
    with page.expect_response(lambda one: one.request.method == "DELETE") as removed, page.expect_download() as saved:
        page.click("[data-bulk=export]")
    saved.value.save_as(tmp_path / "saved.zip")
    assert saved.value.suggested_filename == "conversations.zip"
    with ZipFile(tmp_path / "saved.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert all(any(make_id(number) in name for name in names) for number in (475, 476))
    assert removed.value.ok  # the server keeps no copy


def test_a_server_that_went_away_is_announced_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    root.mkdir()
    directory = make_conversation(root, 1, meta={"title": "Stays"}, state={"execution_status": "finished"})
    taken_back, stays = (make_message_event(50 + number, text) for number, text in enumerate(("Failed", "Stands")))
    port = str(free_port())
    context = browser.new_context()
    page = context.new_page()
    with served(root, "--port", port, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        page.goto(f"{server.url}/#login={make_code(root / '.convstore')}")
        page.wait_for_selector(".rows")
        page.wait_for_selector("#activity h2")
        conversation = context.new_page()
        conversation.goto(f"{server.url}/c/{make_id(1)}")
        expect(conversation.locator("#live")).to_contain_text("Live")
        failed = write_event(directory, 2, taken_back)
        expect(conversation.locator("#log")).to_contain_text("Failed")
    for one in (page, conversation):
        expect(one.locator("#banner")).to_contain_text("Trying again")
    failed.unlink()
    for number in (2, 3):
        write_event(directory, number, stays | {"id": make_event(60 + number)["id"]})
    page.click("#side a[title=finished]")
    expect(page.locator("#banner")).to_contain_text("The server does not answer. Trying again in")
    expect(page.locator(".row[data-id]")).to_have_count(1)
    assert find_violations(page) == []
    with served(root, "--port", port, CONVSTORE_API_KEY=KEY) as server:
        for one in (page, conversation):
            expect(one.locator("#banner")).to_be_hidden()
        expect(page.locator(".chip")).to_contain_text("status: finished")
        expect(conversation.locator("#live")).to_contain_text("Live")
        expect(conversation.locator("#log")).to_contain_text("Stands")
    context.close()


def test_old_rows_stay_while_new_ones_are_slow_away_or_refused(site: Site) -> None:
    page = site.open("/")
    held: list[Route] = []
    page.route("**/ui/list?status=finished*", lambda route, _: held.append(route))
    page.click("#side a[title=finished]")
    expect(page.locator("main.loading .row[data-id]")).to_have_count(50)
    busy = {"detail": "The index is busy.", "code": "index_busy"}
    held[0].fulfill(status=503, headers={"Retry-After": "60"}, json=busy)
    expect(page.locator("#banner")).to_contain_text(re.compile(r"The index is busy. Trying again in \d+ s"))
    expect(page.locator("main:not(.loading) .row[data-id]")).to_have_count(50)
    page.unroute_all()
    page.click("#banner button")
    expect(page.locator(".chip")).to_contain_text("status: finished")
    expect(page.locator("#banner")).to_be_hidden()
    slow = {"detail": "the search takes too long; search for more words", "code": "query_too_slow"}
    page.route("**/ui/list?*q=say*", lambda route, _: route.fulfill(status=422, json=slow))
    page.fill("#find input", "say")
    expect(page.locator("#notice.bad")).to_contain_text("search for more words")
    expect(page.locator(".chip")).to_contain_text("status: finished")
    site.errors.clear()  # the 503 and the 422


def test_a_conversation_deleted_in_another_tab_can_be_restored(site: Site) -> None:
    path = add(site, 405, meta={"title": "In two tabs"})
    page = site.page
    expect(page.locator("#live")).to_contain_text("Live")
    other = page.context.new_page()
    other.goto(f"{site.url}{path}")
    other.wait_for_selector(".ev.cur")
    other.keyboard.press("#")
    expect(other.locator("#notice")).to_contain_text("Moved to the trash.")
    expect(page.locator("#banner")).to_contain_text("This conversation was deleted")
    page.click("#banner button")
    page.wait_for_selector(".ev.cur")
    expect(page.locator("#banner")).to_be_hidden()
    site.errors.clear()  # the 404 of the stream


def test_a_session_that_ended_asks_for_the_key_and_keeps_the_place(site: Site) -> None:
    page = site.open(f"/c/{make_id(1)}#e6")
    page.wait_for_selector("#e6.cur")
    page.evaluate("localStorage.setItem('convstore.token', JSON.stringify({token: '1.a.b', expires_at: 4e9}))")
    page.keyboard.press("v")
    page.fill("input[name=key]", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#e6, .talk")
    assert page.url.endswith("#e6")
    site.errors.clear()  # the 401


def test_a_change_of_a_conversation_that_another_server_owns_names_the_owner(site: Site) -> None:
    directory = make_conversation(site.root, 401, meta={"title": "Owned"})
    lease = {"owner_instance_id": "agent-server-7", "generation": 1, "owner_host": "elsewhere", "owner_pid": 1}
    (directory / "owner_lease.json").write_text(json.dumps(lease | {"expires_at": time.time() + 9999}))
    page = site.open(f"/c/{make_id(401)}")
    page.wait_for_selector(".ev.cur")
    page.click("[data-act=pin]")
    expect(page.locator("#notice")).to_contain_text("is owned by agent-server-7 on elsewhere")
    expect(page.locator("h1")).to_have_text("Owned")
    for state in each_look(page):
        with page.expect_response("**/api/conversations/*"):
            page.click("[data-act=pin]")
        expect(page.locator("#notice")).to_be_visible()
        assert find_violations(page) == [], state
    site.errors.clear()  # the 409


def test_only_what_was_said_stays_in_the_address_and_a_link_to_an_event_shows_it(site: Site) -> None:
    page = site.open(f"/c/{make_id(1)}")
    page.wait_for_selector(".ev.cur")
    page.keyboard.press("v")
    expect(page.locator("[data-said]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("article#e2")).to_have_count(0)
    assert find_violations(page) == []
    page.reload()
    page.wait_for_selector("article#e8")
    expect(page.locator("article#e2")).to_have_count(0)
    page.evaluate("location.hash = '#e2'")
    page.wait_for_selector("article#e2.cur")
    assert "view=said" not in page.url


def test_neighbours_of_the_list_and_undo_by_keys(site: Site) -> None:
    for number in (411, 412):
        add(site, number, meta={"title": f"Neighbour {number}", "updated_at": f"2031-01-0{number - 410}T00:00:00Z"})
    page = site.open("/?title__contains=Neighbour")
    expect(page.locator(".row[data-id]")).to_have_count(2)
    page.keyboard.type("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Neighbour 412")
    page.wait_for_selector(".ev.cur")
    page.keyboard.press("]")
    expect(page.locator("h1")).to_have_text("Neighbour 411")
    page.wait_for_selector(".ev.cur")
    page.keyboard.press("]")
    expect(page.locator("#notice")).to_contain_text("the last one")
    page.keyboard.press("e")
    expect(page.locator("[data-act=archive]")).to_have_text("Archived")
    page.keyboard.press("z")
    expect(page.locator("[data-act=archive]")).to_have_text("Archive")
    page.keyboard.press("[")
    expect(page.locator("h1")).to_have_text("Neighbour 412")


def test_children_open_under_their_parent_and_all_matches_are_changed_at_once(site: Site) -> None:
    for number in range(420, 424):
        parent = {"parent_conversation_id": make_id(420)} if number == 421 else {}
        add(site, number, meta={"title": f"Family {number}", **parent})
    page = site.open("/?title__contains=Family")
    expect(page.locator("h1")).to_have_text("4 conversations")
    expect(page.locator("#rows > .row[data-id]")).to_have_count(3)
    page.click(".kids summary")
    expect(page.locator(".nested .row")).to_contain_text("Family 421")
    assert find_violations(page) == []
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.click("#all")
    expect(page.locator("#selected")).to_have_text("4")
    page.click("[data-bulk=archive]")
    expect(page.locator("#notice")).to_contain_text("Archived 4 conversations.")
    expect(page.locator("#main .state")).to_contain_text("No conversation matches.")
    page.keyboard.press("z")
    expect(page.locator("h1")).to_have_text("4 conversations")


def test_a_bar_of_the_histogram_leads_to_its_week_and_today_to_today(site: Site) -> None:
    add(
        site,
        430,
        meta={"title": "Now"},
        events=[make_event(0, timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))],
    )
    page = site.open("/")
    page.click("#activity >> text=Today")
    expect(page.locator(".chip")).to_contain_text("active today")
    expect(page.locator("#rows")).to_contain_text("Now")
    page.locator(".spark a").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_contain_text(" to ")
    page.wait_for_selector(".spark .sel")


def test_long_filters_and_names_are_no_wider_than_a_phone(site: Site) -> None:
    word = "W" * 200
    add(site, 440, meta={"title": word}, state={"tags": {"long": word}})
    site.page.set_viewport_size({"width": 390, "height": 800})
    for query in (f"tag=long%3D{word}", f"q={word[:60]}", f"workspace=/{word}"):
        page = site.open(f"/?{query}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, query


def test_hostile_text_stays_text_on_every_screen(site: Site) -> None:
    state = make_state(
        make_id(450),
        tags={"a": HOSTILE},
        workspace={"kind": "LocalWorkspace", "working_dir": f"/{HOSTILE}"},
        agent={"kind": "Agent", "llm": {"model": HOSTILE}, "tools": []},
    )
    path = add(site, 450, meta=make_meta(make_id(450), title=HOSTILE), state=state, events=change_texts(EVERY_KIND))
    page = site.page
    dialogs: list[Dialog] = []

    def keep(dialog: Dialog) -> None:
        dialogs.append(dialog)

    page.on("dialog", keep)
    screens = ("/?q=alert", f"{path}#e0", f"/compare?a={make_id(450)}&b={make_id(1)}", "/overview?days=0",
               "/edits?path=%22%3E%3Cscript%3E", "/?title__contains=script")  # fmt: skip
    for screen in screens:
        site.open(screen)
        if screen.startswith("/c/"):
            page.wait_for_selector("article#e0")
            open_all(page)
        assert page.locator("img[src=x], #main script, [onerror]").count() == 0, screen
    assert dialogs == []


def open_all(page: Page) -> None:
    for button in page.locator("[data-group][aria-pressed=false]").all():
        button.click()
    page.locator("details[data-event]").evaluate_all("(all) => { for (const one of all) one.open = true; }")
    expect(page.locator("details[data-event] .inside:empty")).to_have_count(0)


def test_events_that_take_the_place_of_others_are_shown_instead_of_them(site: Site) -> None:
    """The last two events were taken back, and the log is then as long as before."""
    directory = make_conversation(site.root, 461, events=[make_message_event(0, "Stays")])
    failed = [write_event(directory, seq, make_message_event(10 + seq, f"Failed {seq}")) for seq in (1, 2)]
    page = site.open(f"/c/{make_id(461)}")
    expect(page.locator("#live")).to_contain_text("Live")
    expect(page.locator("#log article")).to_contain_text(["Stays", "Failed 1", "Failed 2"])
    page.evaluate("() => { document.querySelector('#e0').dataset.kept = ''; }")
    for file in failed:
        file.unlink()
    for seq in (1, 2):
        write_event(directory, seq, make_message_event(20 + seq, f"Stands {seq}"))
    expect(page.locator("#log article")).to_contain_text(["Stays", "Stands 1", "Stands 2"])
    expect(page.locator("#count")).to_have_text("3")
    expect(page.locator("#e0[data-kept]")).to_have_count(1)


def test_fewer_events_that_take_the_place_of_others_leave_nothing_of_them(site: Site) -> None:
    directory = make_conversation(site.root, 462, events=[make_message_event(seq, f"line {seq}") for seq in range(49)])
    failed = [write_event(directory, seq, make_message_event(100 + seq, f"Failed {seq}")) for seq in range(49, 104)]
    page = site.open(f"/c/{make_id(462)}")
    expect(page.locator("#live")).to_contain_text("following")
    expect(page.locator("#log")).to_contain_text("Failed 103")
    for file in reversed(failed):
        file.unlink()
    write_event(directory, 49, make_message_event(300, "Stands"))
    expect(page.locator("#e49")).to_contain_text("Stands")
    expect(page.locator("#log")).not_to_contain_text("Failed")
    expect(page.locator("#log .part")).to_have_count(1)
    expect(page.locator("#e49")).to_be_in_viewport()


def test_the_inside_of_an_event_is_asked_for_once(site: Site) -> None:
    others = [make_message_event(seq, f"line {seq}") for seq in range(len(EVERY_KIND), 400)]
    make_conversation(site.root, 463, events=[*EVERY_KIND, *others])
    page = site.open(f"/c/{make_id(463)}#e4")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/body/" in one.url else None)
    page.click("article#e4 summary")
    expect(page.locator("article#e4 table.diff tr.a")).to_contain_text("return 2")
    page.keyboard.press("End")
    expect(page.locator("#e399")).to_be_in_viewport()
    expect(page.locator("#e4")).to_have_count(0)  # its section is not in the document any more
    page.keyboard.press("Home")
    page.click("article#e4 summary")
    expect(page.locator("article#e4 table.diff tr.a")).to_contain_text("return 2")
    assert len(asked) == 1


def test_a_failed_step_that_comes_open_with_its_section_does_not_end_following(site: Site) -> None:
    """Its output is so long that the page asks for it alone, and it is below the end of the window when it comes."""
    action = make_event(
        200, kind="ActionEvent", source="agent", tool_name="terminal", thought=[],
        action={"kind": "TerminalAction", "command": "make"},
    )  # fmt: skip
    seen = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "no rule\n" * 300_000}], "exit_code": 2}
    failed = make_event(201, kind="ObservationEvent", source="environment", action_id=action["id"], observation=seen)
    events = [*(make_message_event(seq, f"line {seq}") for seq in range(200)), action, failed]
    directory = make_conversation(site.root, 464, events=events)
    page = site.open(f"/c/{make_id(464)}#e0")
    page.wait_for_selector("#e0.cur")
    page.keyboard.press("f")
    expect(page.locator("#e200 .out")).to_contain_text("no rule")
    expect(page.locator("#live")).to_contain_text("following")
    write_event(directory, 202, make_message_event(202, "just appended"))
    expect(page.locator("#e202")).to_be_in_viewport()


def test_odd_events_are_shown_with_the_reason_or_their_fields(site: Site) -> None:
    events = [make_message_event(0, "hello"), make_event(1, kind="FromTheFuture", source="agent", answer=42)]
    events.append(make_message_event(2, "x" * 400_000))
    directory = make_conversation(site.root, 460, meta={"title": "Odd"}, events=events)
    (directory / "events" / f"event-00003-{make_event(3)['id']}.json").write_text('{"torn')
    page = site.open(f"/c/{make_id(460)}#e0")
    expect(page.locator("article#e3")).to_contain_text("Event 3 cannot be read.")
    expect(page.locator("article#e2")).to_contain_text("the beginning of 400,000 characters")
    for button in page.locator("[data-group][aria-pressed=false]").all():
        button.click()
    page.locator("article#e1 summary").first.click()
    expect(page.locator("article#e1 .inside")).to_contain_text("answer 42")
    page.click("article#e2 >> text=Raw event")
    expect(page.locator("article#e2 pre.out")).to_contain_text("xxx")
    assert find_violations(page) == []


def test_a_deletion_ends_what_the_page_still_reads_of_the_conversation(site: Site) -> None:
    held: list[Route] = []
    add(site, 472, meta={"title": "Deleted while it is read"}, events=200)
    site.page.route("**/ui/c/*/events?*", lambda route, _: held.append(route))
    site.page.wait_for_selector(".ev.cur")
    with site.page.expect_request("**/ui/c/*/events?*"):
        site.page.keyboard.press("Home")
    site.page.keyboard.press("#")
    expect(site.page.locator("#notice")).to_contain_text("Moved to the trash.")
    for route in held:
        with suppress(Error):  # the page has ended this request
            route.continue_()
    assert site.page.evaluate("() => fetch('/alive').then((answer) => answer.status)") == 200


def test_the_trash_restores_and_removes_for_good(site: Site) -> None:
    for number in (470, 471):
        add(site, number, meta={"title": f"Deleted {number}"})
        site.page.keyboard.press("#")
        expect(site.page.locator("#notice")).to_contain_text("Moved to the trash.")
    page = site.open("/trash")
    page.click("tr:has-text('Deleted 470') >> [data-restore]")
    expect(page.locator("#notice")).to_contain_text("Restored.")
    page.click("tr:has-text('Deleted 471') >> [data-remove]")
    assert find_violations(page) == []
    page.click("#ask button[value=ok]")
    expect(page.locator("#notice")).to_contain_text("Removed for good.")
    expect(page.locator("main")).not_to_contain_text("Deleted 471")
    assert (site.root / make_id(470)).is_dir()


def make_picture(width: int, height: int) -> str:
    """Return the address of a grey PNG of noise, which is too large to be in the page."""
    noise = Random(1)  # noqa: S311 - made-up data
    lines = b"".join(b"\0" + noise.randbytes(width) for _ in range(height))
    chunks = ((b"IHDR", pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", compress(lines)), (b"IEND", b""))
    packed = b"".join(pack(">I", len(data)) + name + data + pack(">I", crc32(name + data)) for name, data in chunks)
    return "data:image/png;base64," + b64encode(b"\x89PNG\r\n\x1a\n" + packed).decode()


def test_a_page_that_follows_stays_at_the_end_while_an_image_comes(site: Site) -> None:
    content = [{"type": "text", "text": "See"}, {"type": "image", "image_urls": [make_picture(300, 200)]}]
    shown = make_event(40, llm_message={"role": "user", "content": content})
    make_conversation(site.root, 473, events=[*(make_message_event(seq, f"line {seq}") for seq in range(40)), shown])
    held: list[Route] = []
    site.page.route("**/images/*", lambda route, _: held.append(route))
    page = site.open(f"/c/{make_id(473)}#e0")
    page.wait_for_selector("#e0.cur")
    with page.expect_request("**/images/*"):
        page.keyboard.press("f")
    expect(page.locator("#live")).to_contain_text("following")
    before = page.evaluate("() => document.documentElement.scrollHeight")
    held[0].continue_()
    expect(page.locator("#e40 img")).to_have_js_property("naturalHeight", 200)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    below = page.evaluate("() => document.documentElement.scrollHeight - innerHeight - scrollY")
    assert page.evaluate("() => document.documentElement.scrollHeight") > before + 100
    assert below <= 1
    expect(page.locator("#live")).to_contain_text("following")
