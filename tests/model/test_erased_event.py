"""The texts of an event are erased; its identity stays."""

from __future__ import annotations

from app.model.erased_event import erase_texts, list_erased_texts

EVENT = {
    "id": "e1",
    "timestamp": "2026-01-01T00:00:00",
    "source": "agent",
    "parent_id": "e0",
    "thought": [{"type": "text", "text": "first I print the password"}],
    "action": {"kind": "FileEditorAction", "command": "view", "path": "/home/me/secret", "view_range": [1, 5]},
    "tool_name": "file_editor",
    "tool_call": {"id": "c1", "name": "file_editor", "arguments": '{"command": "view", "path": "/home/me/secret"}'},
    "kind": "ActionEvent",
}


def test_every_text_is_replaced_but_not_what_identifies_the_event() -> None:
    assert erase_texts(EVENT) == EVENT | {
        "thought": [{"type": "text", "text": "[erased]"}],
        "action": {"kind": "FileEditorAction", "command": "view", "path": "[erased]", "view_range": [1, 5]},
        "tool_call": {"id": "c1", "name": "file_editor", "arguments": "{}"},
    }


def test_the_texts_to_search_for_are_also_those_inside_arguments() -> None:
    found = [*list_erased_texts(EVENT)]
    assert found.count("/home/me/secret") == 2
    assert "first I print the password" in found
    assert "file_editor" not in found


def test_the_command_of_a_terminal_is_erased() -> None:
    action = {"action": {"kind": "TerminalAction", "command": "cat /etc/shadow"}}
    assert erase_texts(action) == {"action": {"kind": "TerminalAction", "command": "[erased]"}}


def test_arguments_of_an_mcp_tool_are_erased_whatever_their_names() -> None:
    action = {"action": {"kind": "MCPToolAction", "data": {"name": "me", "deep": [{"key": "s3cret"}], "n": 1}}}
    assert erase_texts(action) == {
        "action": {"kind": "MCPToolAction", "data": {"name": "[erased]", "deep": [{"key": "[erased]"}], "n": 1}}
    }
    assert [*list_erased_texts(action)] == ["me", "s3cret"]
