"""The fold of files that are missing, damaged or odd: a row that clients accept, with the reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.conversation import ConversationFiles, fold
from app.model.filters import Status
from app.model.ids import dashed
from app.model.info import STUB_AGENT, STUB_WORKSPACE
from tests.builders import make_meta
from tests.model.test_conversation import LOG, NOON_US, ONE, body, files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "finished", "2026-10-01T12:00:00", "0001-01-01T00:00:00+14:00", "gAAAAx", ONE])
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize("status", ["napping", "", None, 5, ["idle"], {"a": 1}, "x" * 1000])
def test_an_unknown_status_is_an_error_with_the_reason(status: object) -> None:
    row = fold(files(state={"execution_status": status}))
    assert (row.status, body(row)["execution_status"]) == ("error", "error")
    assert row.unreadable == f"base_state.json: execution_status {str(status)[:40]!r} is not known"
    assert body(row)["unreadable"] == row.unreadable


@pytest.mark.parametrize("agent", [None, "Agent", [], {}, {"kind": None}, {"llm": {"model": "m"}}])
def test_without_an_agent_there_is_a_stub(agent: object) -> None:
    row = fold(files(state={"agent": agent}))
    assert (body(row)["agent"], row.agent_kind, row.status) == (STUB_AGENT, "Agent", "error")
    assert row.unreadable == "base_state.json: no agent"


@pytest.mark.parametrize("workspace", [None, [], {}, 5])
def test_without_a_workspace_there_is_the_meta_s_or_a_stub(workspace: object) -> None:
    stub = fold(files(state={"workspace": workspace}))
    other = {"kind": "LocalWorkspace", "working_dir": "/other"}
    meta_s = fold(files({"workspace": other}, {"workspace": None}))
    assert (body(stub)["workspace"], stub.workspace) == (STUB_WORKSPACE, ".")
    assert (body(meta_s)["workspace"], meta_s.workspace) == (other, "/other")


def test_without_a_state_the_row_is_one_that_clients_accept() -> None:
    row = fold(ConversationFiles(ONE, ONE, make_meta(ONE, tags={"a": "b"}), 2, None, LOG, 0, ("base_state.json: why",)))
    info = body(row)
    assert (info["agent"], info["workspace"], info["tags"]) == (STUB_AGENT, STUB_WORKSPACE, {"a": "b"})
    assert (info["execution_status"], info["title"], info["unreadable"]) == ("error", "A title", "base_state.json: why")


def test_stubs_are_not_shared_between_rows() -> None:
    before = copy.deepcopy((STUB_AGENT, STUB_WORKSPACE))
    fold(ConversationFiles(ONE, ONE, None, 0, None, LOG, 0, ("a problem",)))
    assert before == (STUB_AGENT, STUB_WORKSPACE)


@pytest.mark.parametrize("depth", [200, 300, 900, 20_000])
def test_deep_nesting_is_shown_or_is_the_reason(depth: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    row = fold(files(state={"agent_state": deep}))
    shown = row.unreadable is None
    assert shown is (depth == 200)
    assert (row.status, body(row)["agent"]["kind"]) == ("finished" if shown else "error", "Agent")


META_NAMES = ["title", "created_at", "updated_at", "tags", "workspace", "parent_conversation_id", "client_tools"]
STATE_NAMES = ["agent", "workspace", "execution_status", "stats", "tags", "agent_state", "secret_registry", "id"]


@given(
    st.dictionaries(st.sampled_from(META_NAMES) | st.text(max_size=5), JSON),
    st.dictionaries(st.sampled_from(STATE_NAMES) | st.text(max_size=5), JSON),
)
def test_no_files_are_too_odd_to_be_listed(meta: dict[str, Any], state: dict[str, Any]) -> None:
    row = fold(ConversationFiles(ONE, ONE, meta, 2, state, LOG, NOON_US))
    info = body(row)
    assert (row.uuid, info["id"], info["execution_status"]) == (ONE, dashed(ONE), row.status)
    assert isinstance(info["agent"]["kind"], str)
    assert isinstance(info["workspace"], dict)
    assert row.status in set(Status)
    assert all(abs(number) < 2**63 for number in (row.created_at, row.updated_at, row.tokens))
