"""The fragments of the page over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from app import Settings
from app.api.auth import PAGE_PATHS
from app.web import conversation_view
from tests.builders import (
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    make_meta,
    make_state,
    opened_files,
    write_event,
)
from tests.conftest import serving
from tests.web.elements import elements
from tests.web.logs import EVERY_KIND, make_talkative_log

ONE = f"/ui/c/{make_id(1)}"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    directory = make_conversation(root, events=EVERY_KIND)
    (directory / "events" / f"event-{len(EVERY_KIND):05d}-{make_event(99)['id']}.json").write_text("torn {")
    make_conversation(root, 2, events=[make_message_event(0, "another matter")])
    async with serving(Settings(store=root, timezone="UTC")) as client:
        yield client


async def text(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_the_list_has_rows_facets_and_their_counts(client: httpx.AsyncClient) -> None:
    html = await text(client, "/ui/list")
    assert "2 conversations" in html
    assert html.count('class="row" data-id') == 2
    assert f'href="/?workspace={httpx.QueryParams({"w": "/home/dev/project"})}'.replace("w=", "") in html


async def test_a_following_page_has_its_rows_alone_and_counts_nothing_again(root: Path) -> None:
    for number in range(1, 53):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        first = await text(client, "/ui/list")
        found = re.search(r'data-next="([^"]+)"', first)
        assert found is not None
        following = await text(client, f"/ui/list?page_id={found[1]}")
    assert (first.count('class="row" data-id'), following.count('class="row" data-id')) == (50, 2)
    assert "data-part" not in following


async def test_a_filter_is_a_chip_that_its_link_removes(client: httpx.AsyncClient) -> None:
    html = await text(client, "/ui/list?status=finished&model=a%2Fmodel")
    assert re.search(r'class="chip"><span>status: finished</span><a href="/\?model=a%2Fmodel"', html)
    assert await text(client, "/ui/list?status=paused") != html


async def test_a_search_shows_its_hits_with_links_to_the_events(client: httpx.AsyncClient) -> None:
    html = await text(client, "/ui/list?q=another")
    assert "1 conversation" in html
    assert f'href="/c/{make_meta(make_id(2))["id"]}' not in html
    assert re.search(r'#e0">.*<mark>another</mark> matter', html)


async def test_a_list_without_a_match_says_how_to_widen_it(client: httpx.AsyncClient) -> None:
    html = await text(client, "/ui/list?status=stuck")
    assert "No conversation matches" in html
    assert "Remove status: stuck" in html


async def test_every_event_is_shown_folded_or_named_unreadable(client: httpx.AsyncClient) -> None:
    html = await text(client, f"{ONE}/events?from=0")
    shown = re.findall(r'<article class="ev" id="e(\d+)"', html)
    folded = re.findall(r'<span class="folded" id="e(\d+)"', html)
    assert sorted(map(int, shown + folded)) == list(range(len(EVERY_KIND) + 1))
    assert f"Event {len(EVERY_KIND)} cannot be read." in html


async def test_a_section_begins_anywhere(client: httpx.AsyncClient) -> None:
    html = await text(client, f"{ONE}/events?from=3&limit=2")
    assert sorted(re.findall(r' id="e(\d+)"', html)) == ["3", "4"]
    assert re.findall(r' id="e(\d+)"', await text(client, f"{ONE}/events?from=5000")) == []


async def test_the_head_has_facts_and_an_outline(client: httpx.AsyncClient) -> None:
    html = await text(client, ONE)
    assert f'data-last="{len(EVERY_KIND)}"' in html
    assert 'href="#e1"' in html


async def test_the_inside_of_an_event_is_asked_for_alone(client: httpx.AsyncClient) -> None:
    action = next(event for event in EVERY_KIND if event["kind"] == "ActionEvent")
    seen = next(event for event in EVERY_KIND if event.get("action_id") == action["id"])
    html = await text(client, f"{ONE}/body/{action['id']}?observation={seen['id']}")
    assert '<span class="t-green">ok</span>' in html
    wrong = await client.get(f"{ONE}/body/{action['id']}?observation={EVERY_KIND[0]['id']}")
    assert wrong.status_code == 404


async def test_an_unknown_conversation_is_404(client: httpx.AsyncClient) -> None:
    for path in (f"/ui/c/{make_id(9)}", f"/ui/c/{make_id(9)}/events?from=0"):
        assert (await client.get(path)).status_code == 404


async def test_the_overview_has_sums_and_findings(client: httpx.AsyncClient) -> None:
    html = await text(client, "/ui/overview?days=0")
    assert '<dd class="num">2</dd>' in html
    assert '<dd class="num">— ' in html  # no cost was recorded: that is not nothing
    assert "Store health" in html
    disk = await text(client, "/ui/overview/disk")
    assert re.search(r'"name">20\d\d-\d\d<svg', disk)
    assert "all conversations" in disk


def make_costs(ago: dict[float, float]) -> dict[str, object]:
    """Return the stats of model calls: days ago, and the cost of each. Of 1,000 input tokens, 600 were cached."""
    now = datetime.now(UTC)
    calls = [{"timestamp": (now - timedelta(days=days)).timestamp(), "cost": cost} for days, cost in ago.items()]
    used = {"prompt_tokens": 1000, "completion_tokens": 0, "cache_read_tokens": 600}
    total = {name: len(calls) * number for name, number in used.items()}
    metrics = {"costs": calls, "token_usages": [used] * len(calls), "accumulated_token_usage": total}
    return {"usage_to_metrics": {"agent": {**metrics, "model_name": "a/model", "accumulated_cost": sum(ago.values())}}}


async def test_the_overview_compares_a_period_with_the_one_before(root: Path) -> None:
    now = datetime.now(UTC)
    for number, ago in enumerate(({1.0: 3.0}, {2.0: 2.0, 9.0: 2.0}, {10.0: 2.0}), 1):
        events = [
            make_message_event(seq, "hello", timestamp=(now - timedelta(days=days)).isoformat())
            for seq, days in enumerate(sorted(ago, reverse=True))
        ]
        made = (now - timedelta(days=11)).isoformat()
        make_conversation(root, number, events=events, state={"stats": make_costs(ago)}, meta={"created_at": made})
    async with serving(Settings(store=root, timezone="UTC")) as client:
        html = await text(client, "/ui/overview?days=7")
        everything = await text(client, "/ui/overview?days=0")
    tiles = [" ".join(one.split()) for one in re.findall(r"<dd[^>]*>(.*?)</dd>", html, re.DOTALL)][:3]
    told = '<span class="vh"> compared with the 7 days before</span></small>'
    title = '<small title="compared with the 7 days before">'
    assert tiles == [f"2 {title}+0{told}", f"$5.00 {title}+25 %{told}", "2,000 <small>60 % cached</small>"]
    assert "days before" not in everything
    assert "$9.00" in everything


async def test_two_conversations_are_compared(client: httpx.AsyncClient) -> None:
    html = await text(client, f"/ui/compare?a={make_id(1)}&b={make_id(2)}")
    assert html.count('<section class="card"') == 2


async def test_the_trash_lists_what_was_deleted(client: httpx.AsyncClient) -> None:
    assert "The trash is empty." in await text(client, "/ui/trash")
    await client.delete(f"/api/conversations/{make_id(2)}")
    assert "1 deleted conversation<" in await text(client, "/ui/trash")


async def test_hostile_text_in_every_field_stays_text(root: Path) -> None:
    make_conversation(
        root,
        meta=make_meta(make_id(1), title=HOSTILE, tags={"a": HOSTILE}),
        state=make_state(
            make_id(1),
            tags={"a": HOSTILE},
            workspace={"kind": "LocalWorkspace", "working_dir": HOSTILE},
            agent={"kind": "Agent", "llm": {"model": HOSTILE}, "tools": []},
        ),
        events=change_texts(EVERY_KIND),
    )
    async with serving(Settings(store=root, timezone="UTC")) as client:
        for path in ("/ui/list", f"/ui/list?q={httpx.QueryParams({'q': HOSTILE})}", ONE, f"{ONE}/events?from=0",
                     "/ui/overview?days=0", f"/ui/compare?a={make_id(1)}&b={make_id(1)}"):  # fmt: skip
            html = await text(client, path)
            for tag, attributes in elements(html):
                assert tag not in ("script", "iframe", "object", "style", "link"), path
                assert tag != "img" or attributes["src"].startswith("data:image/"), path
                assert not [name for name in attributes if name.startswith("on") or name == "style"], path


def change_texts(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return events with hostile text in each field that may have any text."""
    return [_change(event, "") for event in events]  # type: ignore[misc]


def _change(value: object, name: str) -> object:
    if isinstance(value, dict):
        return {key: _change(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_change(inner, name) for inner in value]
    kept = ("id", "kind", "timestamp", "action_id", "source", "parent_id", "type", "command")
    return HOSTILE if isinstance(value, str) and name not in kept else value


async def test_a_planted_secret_is_in_no_fragment(root: Path) -> None:
    secret = "sk-planted-1234567890"  # noqa: S105 - made up
    action = {"kind": "TerminalAction", "command": "ls", "api_key": secret}
    events = [make_event(0, kind="ActionEvent", source="agent", tool_name="terminal", action=action, thought=[])]
    make_conversation(root, events=events)
    async with serving(Settings(store=root)) as client:
        for path in (f"{ONE}/events?from=0", f"{ONE}/body/{events[0]['id']}"):
            assert secret not in await text(client, path)


async def test_the_thinking_before_an_answer_is_folded_and_not_left_out(root: Path) -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "reasoning_content": "<hm>"}
    make_conversation(root, 3, events=[make_event(0, kind="MessageEvent", source="agent", llm_message=message)])
    async with serving(Settings(store=root, timezone="UTC")) as client:
        html = await text(client, f"/ui/c/{make_id(3)}/events?from=0")
    assert html.count("Agent</p>") == 1
    assert '<details class="think"><summary>Thinking</summary><p>&lt;hm&gt;</p></details>' in html


async def test_a_number_far_away_makes_no_sections_between(client: httpx.AsyncClient, root: Path) -> None:
    directory = make_conversation(root, 3)
    write_event(directory, 10**16 + 5, make_event(2))
    html = await text(client, f"/ui/c/{make_id(3)}")
    assert f'data-ranges="[[0, 0], [{10**16}, {10**16}]]"' in html


async def test_events_of_many_bytes_come_in_parts_and_shortened(client: httpx.AsyncClient, root: Path) -> None:
    make_conversation(root, 3, events=[make_message_event(number, "x" * 5_000_000) for number in range(5)])
    path = f"/ui/c/{make_id(3)}/events?from=0"
    html = await text(client, path)
    assert len(html) < 1_000_000
    assert "the beginning of 5.00 M characters" in html
    seen = re.findall(r'<article class="ev" id="e(\d+)"', html)
    while rest := re.search(r'data-rest="(\d+)"', html):
        html = await text(client, f"/ui/c/{make_id(3)}/events?from={rest[1]}")
        seen += re.findall(r'<article class="ev" id="e(\d+)"', html)
    assert seen == ["0", "1", "2", "3", "4"]


async def test_a_large_result_is_shown_once_with_its_action_in_another_part(
    client: httpx.AsyncClient, root: Path
) -> None:
    action = make_event(
        0, kind="ActionEvent", source="agent", tool_name="terminal", thought=[], llm_message=None,
        action={"kind": "TerminalAction", "command": "x" * 3_000_000},
    )  # fmt: skip
    seen = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "y" * 3_000_000}], "exit_code": 7}
    result = make_event(2, kind="ObservationEvent", source="environment", action_id=action["id"], observation=seen)
    make_conversation(root, 3, events=[action, make_message_event(1), result, make_message_event(3)])
    first = await text(client, f"/ui/c/{make_id(3)}/events?from=0")
    rest = re.search(r'data-rest="(\d+)"', first)
    assert rest is not None
    second = await text(client, f"/ui/c/{make_id(3)}/events?from={rest[1]}")
    found = [re.findall(r'<article class="ev" id="e(\d+)"', html) for html in (first, second)]
    assert found == [["0", "1"], ["3"]]
    assert 'data-with="2"' in first
    assert "exit 7" in first
    assert 'class="folded" id="e2"' in second


@pytest.mark.parametrize("value", [1, "x", [1], {"a": 1}, True, [None], "a\x00b", [{"type": "image", "image_urls": 5}]])
async def test_fields_of_odd_types_are_shown(client: httpx.AsyncClient, root: Path, value: object) -> None:
    kinds = {event["kind"]: event for event in EVERY_KIND}
    events = [
        make_event(number, kind=kind, **(dict.fromkeys(set(event) - {"id", "kind", "timestamp", "source"}, value)))
        for number, (kind, event) in enumerate(kinds.items())
    ]
    for event in [*events]:
        field = next((name for name in ("llm_message", "action", "observation") if name in event), None)
        if field:
            odd = dict.fromkeys(("content", "kind", "path", "command", "exit_code", "old_content", "message"), value)
            events.append(make_event(len(events), kind=event["kind"], **{field: odd}))
    make_conversation(root, 3, events=events)
    assert (await text(client, f"/ui/c/{make_id(3)}/events?from=0")).count("<article") == len(events)


@pytest.mark.parametrize(
    "path", [f"{ONE}/events?from={2**63}", "/ui/overview?offset=1440", "/ui/overview?offset=-1440"]
)
async def test_numbers_out_of_range_are_refused(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 422


async def test_the_list_has_a_sum_of_costs_and_takes_several_workspaces(root: Path) -> None:
    for number in (1, 2):
        usage = {"agent": {"accumulated_cost": 0.75}}
        workspace = {"kind": "LocalWorkspace", "working_dir": f"/w/{number}"}
        state = make_state(make_id(number), stats={"usage_to_metrics": usage}, workspace=workspace)
        make_conversation(root, number, state=state)
    async with serving(Settings(store=root)) as client:
        assert '<span class="dim num">$1.50</span>' in await text(client, "/ui/list")
        one = await text(client, "/ui/list?workspace=%2Fw%2F1&workspace=%2Fw%2F2")
        assert "2 conversations" in one
        assert 'href="/?workspace=%2Fw%2F2"' in one


def _costing(number: int, cost: float, **more: object) -> dict[str, object]:
    return make_state(make_id(number), stats={"usage_to_metrics": {"agent": {"accumulated_cost": cost}}}, **more)


@pytest.fixture
async def family(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A parent with a child that failed and a sub-agent, and another conversation."""
    parent = make_conversation(root, 1, state=_costing(1, 1.0))
    child = {"title": "The child", "parent_conversation_id": make_id(1)}
    make_conversation(root, 2, meta=child, state=_costing(2, 0.5, execution_status="error"))
    make_conversation(parent / "subagents", 3, state=_costing(3, 0.25, execution_status="finished"))
    make_conversation(root, 4, meta={"title": "Another"})
    async with serving(Settings(store=root, timezone="UTC")) as client:
        yield client


async def test_children_fold_under_their_parent_with_number_worst_status_and_cost(family: httpx.AsyncClient) -> None:
    html = await text(family, "/ui/list")
    assert "3 conversations" in html
    assert "The child" not in html
    line = re.search(r'class="kids" data-parent="([^"]+)"><summary>(.*?)</summary>', html)
    assert line is not None
    assert (line[1].replace("-", ""), line[2]) == (
        make_id(1), '2 sub-conversations <span class="st error">error</span> <span class="num">$1.50 together</span>',
    )  # fmt: skip
    below = await text(family, f"/ui/children/{make_id(1)}")
    assert below.count('class="row" data-id') == 2
    assert "part of" in below


async def test_a_child_whose_parent_does_not_match_is_a_row_of_its_own(family: httpx.AsyncClient) -> None:
    for query in ("status=error", "q=child", "top_level=false"):
        assert "The child" in await text(family, f"/ui/list?{query}"), query


async def test_the_counts_beside_more_are_those_of_the_filters(family: httpx.AsyncClient) -> None:
    await family.patch(f"/api/conversations/{make_id(4)}", json={"pinned": True})
    html = await text(family, "/ui/list")
    shown = re.findall(
        r'href="/\?([^"]+)" title="(Archived|Pinned|Sub-conv[a-z]+|Unreadable)">[^<]+</a><[^>]+>(\d+)', html
    )
    assert [(label, number) for _, label, number in shown] == [
        ("Archived", "0"), ("Pinned", "1"), ("Sub-conversations", "2"), ("Unreadable", "0"),
    ]  # fmt: skip
    for query, _, number in shown:
        html = await text(family, f"/ui/list?{query.replace('&amp;', '&')}")
        assert f">{number} conversation" in html, query
    assert re.search(r'class="chip"><span>unreadable</span><a href="/">', html)


async def test_a_match_in_a_title_is_marked_and_stays_text(root: Path) -> None:
    make_conversation(root, meta={"title": "Fix <b> & the Parser"}, events=[])
    async with serving(Settings(store=root, timezone="UTC")) as client:
        assert ">Fix &lt;b&gt; &amp; the <mark>Parser</mark></a>" in await text(client, "/ui/list?q=parser")


async def test_an_empty_store_says_where_it_is(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        assert f"This store has no conversation yet: <code>{root}</code>" in await text(client, "/ui/list")


async def test_active_are_those_with_an_event_on_the_day_in_the_zone_of_the_browser(root: Path) -> None:
    late = make_message_event(0, "late", timestamp="2026-10-01T22:30:00")  # the next day in Berlin
    make_conversation(root, 1, meta={"title": "Late"}, events=[late])
    created = {"title": "Created then", "created_at": "2026-10-01T22:30:00Z"}
    make_conversation(root, 2, meta=created, events=[make_message_event(0, timestamp="2026-10-05T08:00:00")])
    async with serving(Settings(store=root, timezone="UTC")) as client:
        for zone, day, found in (
            ("UTC", 1, True),
            ("UTC", 2, False),
            ("Europe/Berlin", 1, False),
            ("Europe/Berlin", 2, True),
        ):
            html = await text(client, f"/ui/list?active=2026-10-{day:02}&tz={zone}")
            assert ("Late" in html, "Created then" in html) == (found, False), (zone, day)
        assert "active 2026-10-01" in await text(client, "/ui/list?active=2026-10-01&tz=Not/A_Zone")


async def test_the_histogram_counts_conversations_with_an_event_today(root: Path) -> None:
    now = datetime.now(UTC)
    zone = f"Etc/GMT{now.hour - 12:+}"  # it is noon there
    make_conversation(root, 1, events=[make_message_event(0, "a", timestamp=now.replace(tzinfo=None).isoformat())])
    make_conversation(root, 2)
    async with serving(Settings(store=root, timezone="UTC")) as client:
        html = await text(client, f"/ui/list/activity?tz={quote(zone)}&active=2026-01-01")
        assert 'href="/?active=today">Today</a><span class="n num">1</span>' in html
        assert html.count("<a href") == 29
        listed = await text(client, f"/ui/list?tz={quote(zone)}&active=today")
    assert "1 conversation<" in listed
    assert 'class="chip"><span>active today</span>' in listed


async def test_only_what_was_said_is_messages_errors_rejections_and_waiting_actions(client: httpx.AsyncClient) -> None:
    html = await text(client, f"{ONE}/events?from=0&said=true")
    shown = [int(number) for number in re.findall(r'<article class="ev" id="e(\d+)"', html)]
    assert shown == [1, 8, 9, 15, 16, 18, 19]
    assert 'class="folded"' not in html


async def test_of_the_agents_messages_only_the_answer_before_a_users_next_one_is_said(root: Path) -> None:
    """Two sections have no answer: one is read on its own, and its last message is followed by one in the next."""
    events = [make_event(seq, kind="ObservationEvent", source="environment") for seq in range(260)]
    sources = {0: "user", 1: "agent", 2: "agent", 4: "environment", 60: "user", 61: "agent", 130: "agent", 210: "agent"}
    for seq, source in sources.items():
        events[seq] = make_message_event(seq, "x", source=source)
    events[3] = make_event(3, kind="AgentErrorEvent", source="agent", tool_name="terminal", error="no")
    events[170] = make_event(
        170, kind="ActionEvent", source="agent", tool_name="finish", thought=[], action={"kind": "FinishAction"}
    )
    make_conversation(root, events=events)
    async with serving(Settings(store=root)) as client:
        shown = []
        for start in range(0, 260, 50):
            html = await text(client, f"{ONE}/events?from={start}&said=true")
            shown += [int(number) for number in re.findall(r'<article class="ev" id="e(\d+)"', html)]
        assert shown == [0, 2, 3, 60, 210]
        assert 'data-ranges="[[0, 50], [200, 200]]"' in await text(client, f"{ONE}?said=true")


async def test_a_question_that_waits_is_said(root: Path) -> None:
    action = {"kind": "TerminalAction", "command": "rm -rf build"}
    asks = make_event(120, kind="ActionEvent", source="agent", tool_name="terminal", action=action, thought=[])
    silent = [make_event(seq, kind="ObservationEvent", source="environment") for seq in range(1, 120)]
    for number, status, ranges in ((1, "waiting_for_confirmation", "[[0, 0], [100, 100]]"), (2, "running", "[[0, 0]]")):
        make_conversation(root, number, state={"execution_status": status}, events=[make_event(0), *silent, asks])
        async with serving(Settings(store=root)) as client:
            html = await text(client, f"/ui/c/{make_id(number)}?said=true&at=120")
        assert f'data-ranges="{ranges}"' in html
        assert ("rm -rf build" in html) is (number == 1)


async def test_sections_without_anything_said_are_left_out(client: httpx.AsyncClient, root: Path) -> None:
    action = {"kind": "TerminalAction", "command": "ls"}
    events = [
        make_event(seq, kind="ActionEvent", source="agent", tool_name="terminal", action=action, thought=[])
        if seq // 100 == 1
        else make_message_event(seq, "x")
        for seq in range(250)
    ]
    make_conversation(root, 3, events=events)
    for query, ranges in (("", "[[0, 200]]"), ("?said=true", "[[0, 50], [200, 200]]")):
        assert f'data-ranges="{ranges}"' in await text(client, f"/ui/c/{make_id(3)}{query}")


@pytest.mark.parametrize(
    ("asked", "shown"),
    [(-1, ["0"]), (0, ["0"]), (30, ["0", "50"]), (120, ["100"]), (210, ["150", "200"]), (9999, ["0"])],
)
async def test_a_conversation_opens_with_the_sections_of_a_window(root: Path, asked: int, shown: list[str]) -> None:
    make_conversation(root, events=[make_event(seq, source="user" if seq == 0 else "agent") for seq in range(211)])
    async with serving(Settings(store=root)) as client:
        html = await text(client, f"{ONE}?at={asked}")
    assert re.findall(r'<section class="part" data-from="(\d+)"', html) == shown


async def test_a_task_leads_to_the_conversation_of_its_sub_agent(client: httpx.AsyncClient, root: Path) -> None:
    def task(number: int, **action: str) -> dict[str, object]:
        return make_event(
            number,
            kind="ActionEvent",
            source="agent",
            tool_name="task",
            thought=[],
            action={"kind": "TaskAction"} | action,
        )

    parent = make_conversation(root, 3, events=[task(0, prompt="Look  at\nspeed"), task(1, prompt="Look at nothing")])
    make_conversation(parent / "subagents", 4, events=[make_message_event(0, "Look at\nspeed")])
    html = await text(client, f"/ui/c/{make_id(3)}/events?from=0")
    [found] = re.findall(r'<p class="child"><a class="link" href="/c/([^"]+)">', html)
    assert found.replace("-", "") == make_id(4)


async def test_a_conversation_of_the_command_line_says_how_it_continues(tmp_path: Path) -> None:
    root = tmp_path / ".openhands" / "conversations"
    root.mkdir(parents=True)
    workspace = {"kind": "LocalWorkspace", "working_dir": "/home/a b"}
    make_conversation(root, state={"workspace": workspace})
    async with serving(Settings(store=root)) as client:
        html = await text(client, ONE)
    assert re.search(r'data-resume="cd &#39;/home/a b&#39; &amp;&amp; openhands --resume [0-9a-f-]{36}"', html)


async def test_list_and_overview_open_no_file_of_a_conversation(root: Path) -> None:
    for number in range(1, 4):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        opened = ["meta.json"]
        async with asyncio.timeout(60):
            while [name for name in opened if name.endswith(".json")]:  # the first sync is reading
                with opened_files() as opened:
                    for path in ("/ui/list", "/ui/list?q=message&status=finished", "/ui/overview?days=0", "/ui/trash"):
                        await text(client, path)


async def test_an_outline_of_very_many_turns_shows_the_last_and_the_errors(root: Path) -> None:
    make_conversation(root, events=make_talkative_log())
    async with serving(Settings(store=root)) as client:
        html = await text(client, f"/ui/c/{make_id(1)}")
    assert html.count("<li") == conversation_view._LINES_MAX
    assert "750 earlier lines are left out" in html
    assert "turn 499:" in html


@pytest.mark.parametrize("path", [*PAGE_PATHS, f"/c/{make_id(1)}"])
async def test_a_page_opens_without_a_key_and_holds_no_data(root: Path, path: str) -> None:
    make_conversation(root, meta={"title": "Private"})
    async with serving(Settings(store=root)) as client:
        answer = await client.get(path, headers={"X-Session-API-Key": ""})
        assert (answer.status_code, "Private" in answer.text) == (200, False)
        assert (await client.get("/ui/list", headers={"X-Session-API-Key": ""})).status_code == 401


async def test_the_hours_of_work_are_those_of_the_readers_zone(client: httpx.AsyncClient) -> None:
    for offset, cell in ((0, "Thu 12:00: 12 events"), (-720, "Thu 00:00: 12 events"), (-735, "Wed 23:00: 12 events")):
        assert cell in await text(client, f"/ui/overview?days=0&offset={offset}")


async def test_a_browser_keeps_the_files_of_this_version_and_no_others(client: httpx.AsyncClient) -> None:
    shell = (await client.get("/")).text
    paths = re.findall(r'"(/static/[0-9a-f]{16}/[a-z]+\.(?:js|css))"', shell)
    assert len(paths) > 5
    for path in paths:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    name = paths[0].rpartition("/")[2]
    for path in (f"/static/{'0' * 16}/{name}", f"/static/{name}"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert (await client.get(f"/static/{'0' * 16}/none.js")).status_code == 404


async def test_an_empty_store_names_the_directory_that_was_probably_meant(tmp_path: Path) -> None:
    root = tmp_path / "workspace" / "conversations"
    root.mkdir(parents=True)
    make_conversation(root)
    async with serving(Settings(store=tmp_path)) as client:
        assert f"<code>convstore serve {root}</code>" in await text(client, "/ui/list")
    async with serving(Settings(store=root)) as client:
        assert "Did you mean" not in await text(client, "/ui/list")
