"""Log lines: JSON for programs, plain for people, and never more than one line of what a user wrote."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from app import logs, trail
from app.trail import Act, Result

NASTY = "a\x1b[31mred\x1b]0;title\x07\r\nINFO forged: line\u202e\u2028\ud800\x00"


def fail() -> None:
    raise ValueError(NASTY)


def record(message: str, *args: object) -> logging.LogRecord:
    try:
        fail()
    except ValueError:
        trace = sys.exc_info()
    return logging.LogRecord("a.logger", logging.WARNING, __file__, 1, message, args, trace)


@pytest.mark.parametrize("formatter", [logs.PlainFormatter(), logs.JsonFormatter()])
def test_no_text_breaks_a_line_or_steers_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record("title %s", NASTY))
    assert not {c for c in line if ord(c) < 32 and c != "\n"} | ({"\u202e", "\u2028", "\ud800"} & set(line))
    forged = [part for part in line.split("\n") if part.startswith(("INFO", " INFO")) or part == ""]
    assert not forged
    line.encode()


def test_a_plain_line_says_when_what_and_for_which_request() -> None:
    token = logs.request_id.set("abc")
    try:
        first, *trace = logs.PlainFormatter().format(record("title %s", "é")).split("\n")
    finally:
        logs.request_id.reset(token)
    assert first.endswith("WARNING a.logger: title é [abc]")
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in trace)


def test_a_json_line_is_one_object() -> None:
    token = logs.request_id.set("abc")
    try:
        line = logs.JsonFormatter().format(record("title %s", NASTY))
    finally:
        logs.request_id.reset(token)
    fields = json.loads(line)
    assert "\n" not in line
    assert fields.pop("time").endswith("+00:00")
    assert fields.pop("error").startswith("Traceback")
    assert fields == {
        "level": "warning", "logger": "a.logger", "message": f"title {NASTY}", "request_id": "abc",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("log_format", "terminal", "plain"),
    [("auto", True, True), ("auto", False, False), ("plain", False, True), ("json", True, False)],
)
def test_lines_are_plain_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, log_format: str, terminal: bool, plain: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert logs.is_plain(log_format) is plain


def test_the_audit_file_goes_on_after_it_was_renamed(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    logs.send_audit_to(path)
    try:
        trail.write(Act.WRITE, Result.DONE, method="PATCH", route="/one", status=200, ids=[])
        path.rename(tmp_path / "audit.log.1")
        trail.write(Act.WRITE, Result.DONE, method="PATCH", route="/two", status=200, ids=["x"] * 3, key="")
    finally:
        logs.send_audit_to(None)
    [first], [second] = (file.read_text().splitlines() for file in (tmp_path / "audit.log.1", path))
    assert json.loads(first)["route"] == "/one"
    assert {**json.loads(second), "time": 0} == {
        "time": 0,
        "level": "info",
        "logger": "audit",
        "message": "write: PATCH /two 200 result=done conversations=x,x,x",
        "audit": "write",
        "result": "done",
        "method": "PATCH",
        "route": "/two",
        "status": 200,
        "conversations": ["x", "x", "x"],
    }


def test_a_full_disk_does_not_hide_that_a_line_of_the_trail_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    logs.send_audit_to(Path("/dev/full"))
    try:
        trail.write(Act.WRITE, Result.DONE, method="PATCH", route="/one", status=200, ids=[])
    finally:
        logs.send_audit_to(None)
    assert "the audit trail cannot be written to /dev/full ([Errno 28] No space left on device)" in caplog.text
    assert "Traceback" not in caplog.text
