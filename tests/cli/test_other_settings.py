"""Commands whose settings say otherwise how files are read than those of the server that looks after the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import held_by_another_process, index_path, index_tables, make_conversation
from tests.cli.conftest import Command

OTHERWISE = [("TIMEZONE", "Asia/Tokyo"), ("SEARCH_TOOLS", "true")]


@pytest.mark.parametrize(("setting", "value"), OTHERWISE)
def test_beside_a_server_they_leave_its_index_as_it_is(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "UTC")
    make_conversation(root)
    convstore("index", "sync", "--store", root)
    before = index_tables(index_path(root))
    monkeypatch.setenv(f"CONVSTORE_{setting}", value)
    with held_by_another_process(root / ".convstore" / "duty.lock"):
        assert convstore("count", "--store", root).out == "1\n"
        ran = convstore("index", "sync", "--store", root)
        assert (ran.code, "a server looks after this index" in ran.err) == (2, True)
        assert index_tables(index_path(root)) == before
    convstore("count", "--store", root)
    assert index_tables(index_path(root)) != before


def test_with_the_same_settings_they_follow_the_files_beside_a_server(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "UTC")
    make_conversation(root)
    convstore("index", "sync", "--store", root)
    make_conversation(root, 2)
    with held_by_another_process(root / ".convstore" / "duty.lock"):
        assert convstore("count", "--store", root).out == "2\n"
