"""What upstream's tests assert of lists of conversations, counts, and single conversations that are only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.builders import make_conversation, make_id
from tests.conformance.upstream import MISSING, Upstream, ids

pytestmark = pytest.mark.long

STATUSES = ["idle", "finished", "finished", "error", "paused"]
UPDATED = [3, 5, 1, 4, 2, 8, 6, 7]
"""The day of the last update of each."""
ALL = [str(UUID(make_id(number))) for number in range(1, 9)]
LIST = "/api/conversations/search"
MODELS = [{"model_id": "m-1", "name": "One"}, {"model_id": "m-2", "name": "Two"}]


def fill(store: Path, work: Path) -> None:
    place = {"kind": "LocalWorkspace", "working_dir": str(work)}
    states: list[dict[str, Any]] = [{"execution_status": status} for status in STATUSES]
    skills = [{"name": f"s{number}", "content": "long " * 100} for number in range(5)]
    agent = {"kind": "Agent", "llm": {"model": "a/model"}, "tools": []}
    states.append({"execution_status": "idle", "agent": agent | {"agent_context": {"skills": skills}}})
    acp = {"kind": "ACPAgent", "acp_command": ["a"], "acp_model": "m-0"}
    told = {
        "acp_current_model_id": "m-2",
        "acp_available_models": MODELS,
        "acp_supports_runtime_model_switch": True,
    }
    states.append({"execution_status": "idle", "agent": acp})
    states.append({"execution_status": "idle", "agent": acp, "agent_state": told})
    for number, state in enumerate(states, start=1):
        meta = {
            "workspace": place,
            "title": f"number {number}",
            "created_at": f"2026-10-0{number}T12:00:00Z",
            "updated_at": f"2026-11-0{UPDATED[number - 1]}T12:00:00Z",
            "tags": {"env": "test"},
        }
        make_conversation(
            store, number, meta=meta, state={**state, "workspace": place, "tags": {"env": "test"}}, events=0
        )


def test_a_list_has_all_conversations_and_no_next_page(server: Upstream) -> None:
    page = server.get(LIST)
    assert (set(ids(page)), page["next_page_id"]) == (set(ALL), None)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [(None, ALL[::-1]), ("CREATED_AT_DESC", ALL[::-1]), ("CREATED_AT", ALL)],
)
def test_a_list_is_in_the_order_of_creation(server: Upstream, order: str | None, wanted: list[str]) -> None:
    assert ids(server.get(LIST + (f"?sort_order={order}" if order else ""))) == wanted


@pytest.mark.parametrize("descending", [False, True])
def test_a_list_is_in_the_order_of_the_last_update(server: Upstream, *, descending: bool) -> None:
    page = server.get(f"{LIST}?sort_order=UPDATED_AT{'_DESC' if descending else ''}")
    wanted = sorted(ALL, key=lambda one: UPDATED[ALL.index(one)], reverse=descending)
    assert ids(page) == wanted


@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_pages_have_each_conversation_once_in_order(server: Upstream, size: int) -> None:
    walked: list[str] = []
    page_id: str | None = None
    while not walked or page_id:
        page = server.get(f"{LIST}?limit={size}" + (f"&page_id={page_id}" if page_id else ""))
        walked += ids(page)
        assert len(page["items"]) <= size
        page_id = page["next_page_id"]
    assert walked == ALL[::-1]


@pytest.mark.parametrize("status", sorted({*STATUSES, "stuck"}))
def test_a_status_selects_in_lists_and_counts(server: Upstream, status: str) -> None:
    wanted = {ALL[number] for number, one in enumerate(STATUSES + ["idle"] * 3) if one == status}
    page = server.get(f"{LIST}?status={status}")
    assert (set(ids(page)), page["next_page_id"]) == (wanted, None)
    assert server.get(f"/api/conversations/count?status={status}") == len(wanted)


def test_a_status_and_an_order_work_together(server: Upstream) -> None:
    assert ids(server.get(f"{LIST}?status=finished&sort_order=CREATED_AT&limit=1")) == [ALL[1]]


def test_a_count_without_a_filter_counts_all(server: Upstream) -> None:
    assert server.get("/api/conversations/count") == len(ALL)


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=101", "limit=x", "status=x", "sort_order=x"])
def test_a_bad_parameter_of_a_list_is_422(server: Upstream, query: str) -> None:
    assert server.client.get(f"{LIST}?{query}").status_code == 422


def test_the_largest_page_is_100(server: Upstream) -> None:
    assert len(server.get(f"{LIST}?limit=100")["items"]) == len(ALL)


def test_a_bad_status_of_a_count_is_422(server: Upstream) -> None:
    assert server.client.get("/api/conversations/count?status=x").status_code == 422


@pytest.mark.parametrize("form", [str, lambda one: one.replace("-", ""), str.upper])
def test_a_conversation_is_found_by_its_id_in_each_form(server: Upstream, form: Any) -> None:
    found = server.get(f"/api/conversations/{form(ALL[0])}")
    assert (found["id"], found["title"], found["execution_status"]) == (ALL[0], "number 1", "idle")


def test_a_conversation_that_does_not_exist_is_404(server: Upstream) -> None:
    assert server.client.get(f"/api/conversations/{MISSING}").status_code == 404


def test_an_id_that_is_none_is_422(server: Upstream) -> None:
    assert server.client.get("/api/conversations/no-id").status_code == 422


def test_a_conversation_has_its_tags(server: Upstream) -> None:
    assert server.get(f"/api/conversations/{ALL[0]}")["tags"] == {"env": "test"}


def test_several_are_got_in_the_order_that_was_asked(server: Upstream) -> None:
    asked = [ALL[2], MISSING, ALL[0]]
    found = server.get("/api/conversations?" + "&".join(f"ids={one}" for one in asked))
    assert [one and one["id"] for one in found] == [ALL[2], None, ALL[0]]


def test_99_ids_may_be_got_at_once(server: Upstream) -> None:
    assert server.get("/api/conversations?" + f"ids={MISSING}&" * 99) == [None] * 99


def test_100_ids_are_too_many(server: Upstream) -> None:
    answer = server.client.get("/api/conversations?" + f"ids={MISSING}&" * 100)
    assert answer.status_code in (422, 500)  # agent-server fails with an assertion


@pytest.mark.parametrize("query", ["?ids=no-id", ""])
def test_several_without_an_id_are_422(server: Upstream, query: str) -> None:
    assert server.client.get(f"/api/conversations{query}").status_code == 422


WAYS = [f"/api/conversations/{ALL[5]}", f"/api/conversations?ids={ALL[5]}", LIST]


def skills(server: Upstream, way: str, query: str) -> list[Any]:
    found = server.get(way + ("&" if "?" in way else "?") + query)
    many = found["items"] if "items" in found else found if isinstance(found, list) else [found]
    (one,) = [item for item in many if item["id"] == ALL[5]]
    return list(one["agent"]["agent_context"]["skills"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("query", ["", "include_skills=false"])
def test_skills_are_left_out_unless_asked_for(server: Upstream, way: str, query: str) -> None:
    assert skills(server, way, query) == []


@pytest.mark.parametrize("way", WAYS)
def test_skills_are_included_if_asked_for(server: Upstream, way: str) -> None:
    assert [skill["name"] for skill in skills(server, way, "include_skills=true")] == [f"s{n}" for n in range(5)]


def test_an_agent_without_a_context_stays_as_it_is(server: Upstream) -> None:
    assert not server.get(f"/api/conversations/{ALL[0]}")["agent"].get("agent_context")


def test_an_agent_that_is_no_acp_has_no_current_model(server: Upstream) -> None:
    found = server.get(f"/api/conversations/{ALL[0]}")
    assert (found.get("current_model_id"), found.get("available_models")) == (None, [])


def test_the_model_of_an_acp_agent_is_the_one_it_was_given(server: Upstream) -> None:
    found = server.get(f"/api/conversations/{ALL[6]}")
    assert found["current_model_id"] == "m-0"
    assert (found.get("available_models"), found["supports_runtime_model_switch"]) == ([], False)


def test_what_an_acp_agent_told_comes_before_what_it_was_given(server: Upstream) -> None:
    found = server.get(f"/api/conversations/{ALL[7]}")
    assert (found["current_model_id"], found["supports_runtime_model_switch"]) == ("m-2", True)
    assert [{name: one[name] for name in ("model_id", "name")} for one in found["available_models"]] == MODELS


def test_a_conversation_without_relatives_says_so(server: Upstream) -> None:
    found = server.get(f"/api/conversations/{ALL[0]}")
    assert (found.get("parent_conversation_id"), found["sub_conversation_ids"]) == (None, [])
    assert found.get("forked_from_conversation_id") is None
