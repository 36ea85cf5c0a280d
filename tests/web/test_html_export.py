"""The export as HTML: one file, every event, no script, secrets masked."""

from __future__ import annotations

import base64
import gc
import hashlib
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.files.archive import export_reader
from app.model.ids import ConversationId
from app.web.event_blocks import PAIR_DISTANCE
from app.web.html_export import HtmlEncoder
from tests.builders import (
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    make_meta,
    make_state,
    write_event,
)
from tests.web.logs import EVERY_KIND

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)></style>'


def exported(root: Path, *numbers: int) -> str:
    encoder = HtmlEncoder()

    def chunks() -> Iterator[bytes]:
        for number in numbers:
            one = make_id(number)
            yield from encoder.add(ConversationId(one), export_reader.read_files(root, one))
        yield from encoder.end()

    return b"".join(chunks()).decode()


def shown(html: str) -> list[int]:
    return [int(one) for one in re.findall(r'data-seq="(\d+)"', html)]


def test_every_event_is_in_the_file_shown_folded_or_unreadable(root: Path) -> None:
    spent = {"accumulated_cost": 1.25, "accumulated_token_usage": {"prompt_tokens": 4000, "completion_tokens": 100}}
    state = make_state(make_id(1), stats={"usage_to_metrics": {"agent": spent}})
    directory = make_conversation(root, state=state, events=EVERY_KIND)
    torn = len(EVERY_KIND)
    (directory / "events" / f"event-{torn:05d}-{make_event(99)['id']}.json").write_text("torn {")
    html = exported(root, 1)
    assert sorted(shown(html)) == list(range(torn + 1))
    assert f"Event {torn} cannot be read." in html
    assert html.count('<table class="diff">') == 2  # folded
    assert "no rule" in html
    assert "$1.25" in html
    assert "4,100" in html
    assert 'src="data:image/png;base64,' in html


def test_a_large_image_is_inside_the_file(root: Path) -> None:
    image = {"type": "image", "image_urls": ["data:image/png;base64," + "iVBOR" + "A" * 20_000]}
    make_conversation(root, events=[make_event(0, llm_message={"role": "user", "content": [image]})])
    html = exported(root, 1)
    assert 'src="data:image/png;base64,iVBOR' in html
    assert "data-image" not in html


def test_a_long_log_is_rendered_in_sections_and_pairs_over_their_ends(root: Path) -> None:
    action = make_event(
        99, kind="ActionEvent", source="agent", tool_name="terminal", thought=[],
        action={"kind": "TerminalAction", "command": "late answer"},
    )  # fmt: skip
    seen = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "came later"}], "exit_code": 0}
    log = [make_message_event(seq, f"say {seq}") for seq in range(330)]
    log[99] = action
    late = 99 + PAIR_DISTANCE
    log[late] = make_event(
        late, kind="ObservationEvent", source="environment", action_id=action["id"], observation=seen
    )
    make_conversation(root, events=log)
    html = exported(root, 1)
    assert sorted(shown(html)) == list(range(330))
    assert html.count("came later") == 1
    assert f'class="folded" id="e{late}"' in html


def test_the_result_of_a_large_action_is_shown(root: Path) -> None:
    action = make_event(
        0, kind="ActionEvent", source="agent", tool_name="terminal", thought=[], llm_message=None,
        action={"kind": "TerminalAction", "command": "x" * 5_000_000},
    )  # fmt: skip
    seen = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "its result"}], "exit_code": 0}
    result = make_event(1, kind="ObservationEvent", source="environment", action_id=action["id"], observation=seen)
    make_conversation(root, events=[action, result, make_message_event(2)])
    html = exported(root, 1)
    assert sorted(shown(html)) == [0, 1, 2]
    assert html.count("its result") >= 1


@pytest.mark.long
def test_large_events_are_not_kept_until_the_end(root: Path) -> None:
    directory = make_conversation(root, events=1)
    for number in range(1, 30):
        write_event(directory, number, make_message_event(number, "x" * 3_000_000))
    encoder = HtmlEncoder()
    gc.disable()  # what is in a cycle of references would be kept
    tracemalloc.start()
    try:
        for _ in encoder.add(ConversationId(make_id(1)), export_reader.read_files(root, make_id(1))):
            pass
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert most < 60_000_000


def test_the_file_allows_no_script_and_only_its_own_style(root: Path) -> None:
    make_conversation(root, meta=make_meta(make_id(1), title=HOSTILE), events=[make_message_event(0, HOSTILE)])
    html = exported(root, 1)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;" in html
    assert not re.search(r"<(script|link|button|iframe|img src=x)", html)


def test_several_conversations_follow_one_another_with_addresses_of_their_own(root: Path) -> None:
    for number in (1, 2):
        title = f"Talk {number}"
        make_conversation(root, number, meta=make_meta(make_id(number), title=title), events=[make_message_event(0)])
    html = exported(root, 1, 2)
    assert re.findall(r"<h1>(.*?)</h1>", html) == ["Talk 1", "Talk 2"]
    assert html.count("</html>") == html.count("<html") == 1
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len({*ids}) == 2


def test_a_conversation_without_events_and_no_conversation_are_whole_documents(root: Path) -> None:
    make_conversation(root, meta=make_meta(make_id(1), title="Empty"), events=[])
    assert "<h1>Empty</h1>" in exported(root, 1)
    assert exported(root).endswith("</html>\n")


@pytest.mark.long
def test_a_browser_shows_it_without_a_server_and_without_a_complaint(root: Path, browser: Browser) -> None:
    make_conversation(root, events=EVERY_KIND)
    path = root.parent / "talk.html"
    path.write_text(exported(root, 1))
    context = browser.new_context()
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else told.append(request.url))
    page.goto(path.as_uri())
    page.click("#e4 summary")
    assert page.locator("#e4 table.diff tr.a").is_visible()
    assert page.locator("body").evaluate("(body) => getComputedStyle(body).fontSize") == "14px"
    assert page.locator("#e1 img").evaluate("(image) => image.naturalWidth") == 1
    assert told == []
    context.close()
