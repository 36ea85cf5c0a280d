"""The fold: from what was read of a conversation to its row."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from app.model.conversation import (
    LOOK_BACK,
    TITLE_MAX,
    ConversationFiles,
    ConversationRow,
    LogSummary,
    fold,
    fold_next,
    truncate_text,
)
from app.model.event import STATE_UPDATE, EventFacts
from app.model.filters import Status
from app.model.ids import ConversationId, dashed
from app.model.times import format_us
from app.model.workspace import WORKSPACE_MAX
from tests.builders import make_id, make_meta, make_state

ONE = ConversationId(make_id(1))
NOON_US = 1_790_856_000_000_000
"""2026-10-01T12:00:00Z: created_at of `make_meta`; it was updated an hour later."""

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
LOG = LogSummary(3, first_us=NOON_US + 1, last_us=NOON_US + 5 * SECOND_US, last_mtime_ns=1, preview="Fix it")


def files(meta: dict[str, Any] | None = None, state: dict[str, Any] | None = None, **fields: Any) -> ConversationFiles:
    """Return readable files; `meta` and `state` are fields to set."""
    given_fields: dict[str, Any] = {
        "id": ONE,
        "directory": ONE,
        "meta": make_meta(ONE, **(meta or {})),
        "meta_mtime_ns": 2,
        "state": make_state(ONE, **(state or {})),
        "log": LOG,
        "modified_us": NOON_US + 9,
    }
    return ConversationFiles(**given_fields | fields)


def body(row: ConversationRow) -> dict[str, Any]:
    info = orjson.loads(row.whole_body)
    assert isinstance(info, dict)
    return info


def metrics(cost: Any, prompt: Any, completion: Any) -> dict[str, Any]:
    spent = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"accumulated_cost": cost, "accumulated_token_usage": spent}


def stats(**usages: Any) -> dict[str, Any]:
    return {"stats": {"usage_to_metrics": usages}}


def test_every_column_of_a_row() -> None:
    row = fold(
        files(
            {"parent_conversation_id": dashed(make_id(2)), "forked_from_conversation_id": make_id(3)},
            stats(agent=metrics(0.5, 100, 20), condenser=metrics(0.25, 7, 3)),
            directory=dashed(ONE),
        )
    )
    assert row._replace(body=b"", shared=b"") == ConversationRow(
        uuid=ONE,
        directory=dashed(ONE),
        title="A title",
        title_key="a title",
        status="finished",
        created_at=NOON_US,
        updated_at=NOON_US + HOUR_US,
        last_event_at=NOON_US + 5 * SECOND_US,
        event_count=3,
        workspace="/home/dev/project",
        agent_kind="Agent",
        model="a/model",
        parent=make_id(2),
        forked_from=make_id(3),
        cost=0.75,
        tokens=130,
        usage='[[null,"",0.75,107,23,0]]',
        unreadable=None,
        archived=False,
        openable=True,
        pinned=False,
        tags=(),
        preview="Fix it",
        shared=b"",
        body=b"",
    )


def test_every_field_of_a_body() -> None:
    state = {"agent_state": {"acp_current_model_id": "m", "acp_available_models": ["m"]}, "max_iterations": 500}
    meta: dict[str, Any] = {
        "metrics": None,
        "launched_agent_profile": {"name": "p"},
        "forked_from_event_id": "e",
        "user_id": "u",
        "plugins": [],
    }
    assert body(fold(files(meta | {"parent_conversation_id": make_id(2)}, state))) == {
        **make_state(ONE, **state),
        "title": "A title",
        "created_at": "2026-10-01T12:00:00Z",
        "updated_at": "2026-10-01T13:00:00Z",
        "last_event_at": "2026-10-01T12:00:05Z",
        "event_count": 3,
        "preview": "Fix it",
        "cost": 0.0,
        "tokens": 0,
        "archived": False,
        "pinned": False,
        "metrics": None,
        "forked_from_event_id": "e",
        "launched_agent_profile": {"name": "p"},
        "client_tools": [],
        "tool_module_qualnames": {},
        "forked_from_conversation_id": None,
        "parent_conversation_id": dashed(make_id(2)),
        "current_model_id": "m",
        "available_models": ["m"],
        "supports_runtime_model_switch": False,
        "runtime_info": {"runtime_status": "available", "runtime_error": None, "can_resume": True},
    }


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (LOG, (NOON_US + 1, NOON_US + 5 * SECOND_US, NOON_US + 5 * SECOND_US)),
        (LogSummary(3, None, NOON_US, 1), (NOON_US + 9, NOON_US, NOON_US)),
        (LogSummary(3, NOON_US + 1, None), (NOON_US + 1, NOON_US + 1, NOON_US + 1)),
        (LogSummary(), (NOON_US + 9, NOON_US + 9, NOON_US + 9)),
    ],
)
def test_times_without_a_meta_are_the_log_s_or_the_directory_s(log: LogSummary, expected: tuple[int, int, int]) -> None:
    read = ConversationFiles(ONE, ONE, None, 0, make_state(ONE), log, NOON_US + 9)
    row = fold(read)
    assert (row.created_at, row.updated_at, row.last_event_at) == expected
    assert (row.title, row.unreadable, body(row)["title"]) == (None, None, None)


def test_naive_times_of_a_meta_are_utc() -> None:
    row = fold(files({"created_at": "2026-10-01T12:00:00", "updated_at": "2026-10-01T13:00:00.5"}))
    assert (row.created_at, row.updated_at) == (NOON_US, NOON_US + HOUR_US + 500_000)
    assert body(row)["updated_at"] == "2026-10-01T13:00:00.500000Z"


@pytest.mark.parametrize(
    "time", [None, "", "yesterday", 5, [], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_times_of_a_meta_that_are_none_are_the_log_s(time: object) -> None:
    row = fold(files({"created_at": time, "updated_at": time}))
    assert (row.created_at, row.updated_at) == (LOG.first_us, LOG.last_us)


DAY_US = 24 * HOUR_US
MONTH_US = 30 * DAY_US
SAVED_US = NOON_US + HOUR_US


@pytest.mark.parametrize("file_is_newer", [True, False])
@pytest.mark.parametrize(
    ("first_us", "last_us", "expected"),
    [
        (NOON_US, NOON_US + 2 * HOUR_US, NOON_US + 2 * HOUR_US),
        (NOON_US, NOON_US + MONTH_US, NOON_US + MONTH_US),
        (SAVED_US + HOUR_US, NOON_US + MONTH_US, NOON_US + MONTH_US),
        (NOON_US, NOON_US, SAVED_US),
        (NOON_US, None, SAVED_US),
        (None, NOON_US, SAVED_US),
    ],
)
def test_updated_at_is_a_later_event_s_whatever_the_files_times(
    first_us: int | None, last_us: int | None, expected: int, *, file_is_newer: bool
) -> None:
    row = fold(files(log=LogSummary(3, first_us, last_us, 3 if file_is_newer else 2)))
    assert (row.updated_at, body(row)["updated_at"]) == (expected, format_us(expected))


@pytest.mark.parametrize(
    ("first_us", "last_is_past"), [(SAVED_US + DAY_US, True), (NOON_US, False), (None, True)], ids=str
)
def test_an_event_of_another_clock_counts_if_its_file_is_newer(first_us: int | None, *, last_is_past: bool) -> None:
    last_us = NOON_US + MONTH_US
    for mtime_ns, expected in ((3, last_us), (2, SAVED_US)):
        log = LogSummary(3, first_us, last_us, mtime_ns, last_is_past=last_is_past)
        assert fold(files(log=log)).updated_at == expected


@pytest.mark.parametrize(("ahead_us", "believed"), [(DAY_US, True), (DAY_US + 1, False)])
def test_times_of_a_meta_that_were_yet_to_come_are_the_log_s(ahead_us: int, *, believed: bool) -> None:
    now_us = NOON_US + MONTH_US
    told = {"created_at": format_us(now_us + ahead_us), "updated_at": format_us(now_us + ahead_us)}
    row = fold(files(told, meta_placed_ns=now_us * 1000))
    expected = (now_us + ahead_us, now_us + ahead_us) if believed else (LOG.first_us, LOG.last_us)
    assert (row.created_at, row.updated_at) == expected


@pytest.mark.parametrize(("event_count", "expected"), [(3, SAVED_US), (0, NOON_US)])
def test_a_log_that_tells_no_time_was_last_active_when_it_was_updated(event_count: int, expected: int) -> None:
    assert fold(files(log=LogSummary(event_count))).last_event_at == expected


@pytest.mark.parametrize("status", Status)
def test_every_status_is_kept(status: Status) -> None:
    row = fold(files(state={"execution_status": str(status)}))
    assert (row.status, body(row)["execution_status"], row.unreadable) == (status, status, None)


@pytest.mark.parametrize(
    ("agent", "said", "model"),
    [
        ({"kind": "ACPAgent", "acp_model": "given", "llm": {"model": "given"}}, "switched", "given"),
        ({"kind": "ACPAgent", "acp_model": None, "llm": {"model": "acp-managed"}}, "told", "told"),
        ({"kind": "ACPAgent", "llm": {"model": "acp-managed"}}, None, None),
        ({"kind": "ACPAgent", "llm": {"model": "other"}}, None, "other"),
        ({"kind": "Agent", "llm": {"model": "a/model"}}, "told", "a/model"),
    ],
)
def test_the_model_of_an_acp_agent_is_the_one_given_or_told(agent: dict[str, Any], said: object, model: object) -> None:
    row = fold(files(state={"agent": agent, "agent_state": {"acp_current_model_id": said}}))
    assert row.model == model


def test_long_texts_are_bounded() -> None:
    long = "é" * 100_000
    agent = {"kind": long, "llm": {"model": long}}
    row = fold(files({"title": long}, {"agent": agent, "workspace": {"working_dir": long}}, problems=(long,)))
    assert (row.title, len(row.title or "")) == ("é" * (TITLE_MAX - 1) + "…", TITLE_MAX)
    assert body(row)["title"] == row.title
    lengths = [len(text or "") for text in (row.agent_kind, row.model, row.workspace, row.unreadable)]
    assert lengths == [200, 200, WORKSPACE_MAX, 500]


@pytest.mark.parametrize(
    ("text", "expected"), [("abc", "abc"), ("abcd", "ab…"), ("", ""), (None, None), (5, None), (["a"], None)]
)
def test_a_text_is_cut_with_an_ellipsis(text: object, expected: str | None) -> None:
    assert truncate_text(text, 3) == expected


@pytest.mark.parametrize(
    ("state", "cost", "tokens"),
    [
        ({"stats": None}, 0.0, 0),
        ({"stats": {"usage_to_metrics": []}}, 0.0, 0),
        (stats(a=None, b="x", c=metrics(1, 2, 3)), 1.0, 5),
        (stats(a=metrics("1", True, None), b={"accumulated_token_usage": 5}), 0.0, 0),
        (stats(a=metrics(1e308, 0, 0), b=metrics(1e308, 0, 0)), 0.0, 0),
        (stats(a=metrics(0, 1e300, 2**64 - 1)), 0.0, 2**63 - 1),
        (stats(a=metrics(float("nan"), float("inf"), 1)), 0.0, 1),
    ],
)
def test_stats_are_summed_as_far_as_they_are_numbers(state: dict[str, Any], cost: float, tokens: int) -> None:
    row = fold(files(state=state))
    assert (row.cost, row.tokens) == (cost, tokens)


@pytest.mark.parametrize("tokens", [-1e300, -(2**63)])
def test_negative_stats_fit_into_the_index(tokens: float) -> None:
    row = fold(files(state=stats(a=metrics(0, tokens, -1))))
    assert row.unreadable is None
    assert row.tokens >= -(2**63)


def test_skills_are_cut_unless_asked_for() -> None:
    skills = [{"name": "a", "content": "b"}]
    agent = {"kind": "Other", "agent_context": {"skills": skills, "load_user_skills": True}}
    without = body(fold(files(state={"agent": copy.deepcopy(agent)})))["agent"]
    whole = body(fold(files(state={"agent": copy.deepcopy(agent)}), include_skills=True))["agent"]
    assert without == {"kind": "Other", "agent_context": {"skills": [], "load_user_skills": True}}
    assert whole == agent


@pytest.mark.parametrize("value", [None, "", "nobody", 5, [], f"{ONE}0"])
def test_a_bad_id_of_a_relative_is_none(value: object) -> None:
    row = fold(files({"parent_conversation_id": value, "forked_from_conversation_id": value}))
    info = body(row)
    assert (row.parent, row.forked_from) == (None, None)
    assert (info["parent_conversation_id"], info["forked_from_conversation_id"]) == (None, None)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"b": "2", "a": "1"}, (("a", "1"), ("b", "2"))),
        ({"a": 5, "b": None, "c": "x"}, (("c", "x"),)),
        ("a", ()),
        (None, ()),
        ({"a": "x" * 300}, (("a", "x" * 256),)),
    ],
)
def test_the_tags_of_a_row_are_bounded_texts(tags: object, found: object) -> None:
    assert fold(files({}, {"tags": tags})).tags == found


@pytest.mark.parametrize("value", [None, 0, "true", 1, [True]])
def test_only_a_plain_true_archives(value: object) -> None:
    row = fold(files({}, {})._replace(sidecar={"archived": value}))
    assert (row.archived, body(row)["archived"], body(row)["pinned"]) == (False, False, False)
    row = fold(files({}, {})._replace(sidecar={"archived": True, "pinned": True}))
    assert (row.archived, body(row)["archived"], body(row)["pinned"]) == (True, True, True)


NEXT_LOG = LogSummary(event_count=4, first_us=NOON_US + 1, last_us=NOON_US + 2 * HOUR_US, last_mtime_ns=3)
PREVIEWED = NEXT_LOG._replace(preview="Fix it")
LATER: list[dict[str, Any]] = [
    {"state": {"leaf_event_id": make_id(8)}, "log": NEXT_LOG},
    {"state": {"leaf_event_id": make_id(9)}, "log": PREVIEWED},
    {"state": {"leaf_event_id": "gAAAAABnot-an-id"}},
    {"state": {"leaf_event_id": None}},
    {"state": {"leaf_event_id": ["no text"]}},
    {"state": {"leaf_event_id": make_id(8), "head_is_empty": False}},
    {"state": {"execution_status": "running"}},
    {"state": {"agent": None}},
    {"meta": {"title": "another", "updated_at": "2026-10-02T12:00:00Z"}},
    {"sidecar": {"archived": True, "pinned": True}},
    {"problems": ("convstore.json: not valid JSON",)},
    {"log": NEXT_LOG, "meta_mtime_ns": 9},
]


@pytest.mark.parametrize("first", [0, 3, 4, 7])
def test_folding_on_gives_what_folding_anew_gives(first: int) -> None:
    now = changed(files(state={"leaf_event_id": make_id(7), "tags": {"area": "x"}}), LATER[first])
    folded = fold_next(None, now)
    for later in LATER * 2:
        now = changed(now, later)
        folded = fold_next(folded, now)
        assert folded.row == fold(copy.deepcopy(now))


def changed(before: ConversationFiles, fields: dict[str, Any]) -> ConversationFiles:
    """Return files as a write leaves them: what it did not set is the same objects as before."""
    for name in ("meta", "state"):
        if name in fields:
            fields = fields | {name: {**(getattr(before, name) or {}), **fields[name]}}
    return before._replace(**fields)


def test_after_an_event_was_appended_the_state_is_not_looked_through_again() -> None:
    before = files(state={"leaf_event_id": make_id(7)})
    folded = fold_next(None, before)
    again = fold_next(folded, changed(before, LATER[0]))
    assert folded.info
    assert again.info
    assert again.row.shared is folded.row.shared
    assert (again.info["leaf_event_id"], again.row.event_count) == (make_id(8), 4)


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (LogSummary(0), "Fix it", "Fix it"),
        (LogSummary(0), "", None),
        (LogSummary(3, preview="Fix it"), "And that", "Fix it"),
        (LogSummary(LOOK_BACK - 1), "Fix it", "Fix it"),
        (LogSummary(LOOK_BACK), "Fix it", None),
    ],
)
@pytest.mark.parametrize("kind", ["MessageEvent", STATE_UPDATE])
def test_a_log_keeps_its_first_preview(before: LogSummary, said: str, after: str | None, kind: str) -> None:
    for time_us in (None, NOON_US):
        assert before.with_event(EventFacts(kind, "user", time_us, None), said, 1).preview == after


def test_a_log_that_could_not_be_read_stays_so_after_an_event() -> None:
    log = LogSummary(3, failed=True).with_event(EventFacts("MessageEvent", "user", NOON_US, None), "Fix it", 1)
    assert log.failed


@pytest.mark.parametrize("path", ["/home/dev/caf\u00e9/", "/home/dev/cafe\u0301", "/home/dev/caf\u00e9"])
def test_a_workspace_is_filtered_by_one_spelling_and_shown_as_it_was_written(path: str) -> None:
    row = fold(files(state={"workspace": {"kind": "LocalWorkspace", "working_dir": path}}))
    assert (row.workspace, body(row)["workspace"]["working_dir"]) == ("/home/dev/caf\u00e9", path)


@pytest.mark.parametrize("place", ["state", "meta"])
def test_a_workspace_that_is_a_plain_path_is_shown_as_an_object(place: str) -> None:
    given: dict[str, dict[str, Any]] = {"state": {"workspace": None}, "meta": {"workspace": None}}
    given[place] = {"workspace": "/home/dev/plain/"}
    row = fold(files(given["meta"], given["state"]))
    assert row.workspace == "/home/dev/plain"
    assert body(row)["workspace"] == {"kind": "LocalWorkspace", "working_dir": "/home/dev/plain/"}
    assert "unexpected type of workspace" in (row.unreadable or "")
