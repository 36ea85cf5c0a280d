"""Events as blocks of a page: the contents of each kind of event, open or folded. A pure function of the events.

An action and its observation are one block. Every event is in exactly one block, so that nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from markupsafe import Markup

from ..model.event import STATE_UPDATE, content_texts, image_urls
from ..model.text.event_text import SAID_MAX
from . import markup
from .event_bodies import (
    TEXT_MAX,
    Body,
    Event,
    as_dict,
    cut_images,
    cut_text,
    is_command,
    list_acp_diffs,
    list_dicts,
    list_patched,
    list_tasks,
    make_body,
)
from .rows import Row

GAP_S = 600
"""The page shows a pause between two events if it is longer than this."""
PAIR_DISTANCE = 50
"""The maximum distance in the log at which an observation is shown with its action."""

_WHAT_MAX = 300
_MINUS = "\N{MINUS SIGN}"
_RESULT_MAX = 80
_SILENT = ("ThinkObservation", "TaskTrackerObservation")
"""Kinds of observations whose text is not shown, because it is always the same."""
_LINE_FROM = 4096
"""A line is made of so many characters of a text."""
_PATCH = "ApplyPatchAction"
_find_patched = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.MULTILINE).findall
_TESTS_IN = 2048
"""The number of characters at the end of an output in which the result of tests is expected."""
_match_colour = re.compile(r"\x1b\[[0-9;]*m")
_is_of_tests = re.compile(r"\s*(?:=* ?\d+ \w.* in [\d.]+s|Tests:? |test result: ).*").match
_find_counts = re.compile(r"(\d{1,9}) (passed|failed|errors?)\b").findall
_EDITORS = ("FileEditorAction", "StrReplaceEditorAction", "PlanningFileEditorAction")


@dataclass(slots=True)
class Block:
    """A part of the page for one event, or for an action with its observation.

    `shape` selects the HTML; `group` is its name in the filter by kind. `length` is the full length of a text that is
    shown only in part. `child` is the conversation of the sub-agent that did the task. `waits` tells that the block is
    an action of the last step without a result: it runs, or it waits for a confirmation.
    """

    shape: str
    group: str
    event: Event
    who: str = ""
    html: Markup = field(default_factory=Markup)
    tool: str = ""
    what: str = ""
    result: Markup = field(default_factory=Markup)
    note: str = ""
    bad: bool = False
    open: bool = False
    images: list[str] = field(default_factory=list)
    thought: str = ""
    reasoning: str = ""
    body: Body | None = None
    has_body: bool = False
    observation: Event | None = None
    length: int = 0
    gap: str = ""
    day: str = ""
    child: Row | None = None
    waits: bool = False
    speaker: str = ""
    """Whose message it is: `user`, `agent`, or "" if it is none."""

    @property
    def prompt(self) -> str:
        """The task that the action hands to a sub-agent, or ""."""
        action = as_dict(self.event.value.get("action"))
        return str(action.get("prompt") or "") if action.get("kind") == "TaskAction" else ""

    @property
    def child_id(self) -> str:
        """The id of the conversation that the result says it started, or ""."""
        result = self.observation or self.event
        return str(as_dict(result.value.get("observation")).get("conversation_id") or "")

    @property
    def said(self) -> bool:
        """Whether the block is a message of a user or the agent, an error or a rejection."""
        return bool(self.speaker) or (self.shape == "note" and self.event.kind != "HookExecutionEvent")

    @property
    def at(self) -> str:
        """The time of day, HH:MM."""
        time = self.event.time
        return f"{time:%H:%M}" if time else ""

    @property
    def iso(self) -> str:
        """The time as ISO 8601."""
        time = self.event.time
        return time.isoformat(timespec="seconds") if time else ""


def drop_values(block: Block, *, keep_images: bool = False) -> None:
    """Drop all of a block's events that its HTML does not need, when it was made with all the bodies that it shows.

    The page asks for large images alone; a file with all in it keeps them.
    """
    for event in filter(None, (block.event, block.observation)):
        kept = {name: event.value.get(name) for name in ("id", "kind", "timestamp")}
        action, seen = as_dict(event.value.get("action")), as_dict(event.value.get("observation"))
        if action.get("kind") == "TaskAction":
            kept["action"] = {"kind": "TaskAction", "prompt": str(action.get("prompt") or "")[:SAID_MAX]}
        kept["observation"] = {"conversation_id": seen.get("conversation_id")}
        event.value = kept
    if keep_images:
        return
    block.images = cut_images(block.images)
    if block.body is not None:
        block.body.images = cut_images(block.body.images)


def clear_block(block: Block) -> None:
    """Drop what a block holds after it was rendered: Jinja's macros and contexts refer to each other and to the block.

    Otherwise large events would be in memory until Python's cycle collector runs.
    """
    for event in filter(None, (block.event, block.observation)):
        event.value = {}
    block.html, block.body, block.images, block.thought, block.reasoning = Markup(), None, [], "", ""


def make_blocks(events: Iterable[Event], earlier: Iterable[Event] = (), later: Iterable[Event] = ()) -> list[Block]:
    """Return the blocks of consecutive events.

    `earlier` are the `PAIR_DISTANCE` events before them. An observation is left out if its action is among these.
    `later` are as many events after them. They may have the observations of the last actions.
    """
    events, earlier = list(events), list(earlier)
    answers = _pair([*earlier, *events], [*events, *later])
    folded = set(answers.values())
    waiting = _list_waiting(events, answers)
    blocks: list[Block] = []
    before = earlier[-1] if earlier else None
    for event in events:
        if event not in folded:
            block = _make(event, answers.get(event))
            block.gap, block.day = _pause(before, event)
            block.waits = block.shape == "step" and event in waiting
            blocks.append(block)
        before = event
    return blocks


def _pair(actions: Iterable[Event], observations: Iterable[Event]) -> dict[Event, Event]:
    """Return the first observation of each action, if it is within `PAIR_DISTANCE`."""
    by_id = {event.id: event for event in actions if event.kind == "ActionEvent" and event.id}
    answers: dict[Event, Event] = {}
    for observation in observations:
        if observation.kind != "ObservationEvent":
            continue
        action = by_id.get(str(observation.value.get("action_id")))
        if action is not None and 0 < observation.seq - action.seq <= PAIR_DISTANCE:
            answers.setdefault(action, observation)
    return answers


def _list_waiting(events: list[Event], answers: dict[Event, Event]) -> set[Event]:
    """Return the actions of the last step that have no result, and that no error or rejection ended.

    The actions of one answer of the model are one step. A message ends every step before it.
    """
    ends = [event.value for event in events if event.kind in ("AgentErrorEvent", "UserRejectObservation")]
    ended = {str(one[name]) for one in ends for name in ("action_id", "tool_call_id") if one.get(name)}
    waiting: set[Event] = set()
    step: list[object] = []
    for event in reversed(events):
        response = event.value.get("llm_response_id")
        if event.kind == "MessageEvent" or (event.kind == "ActionEvent" and step not in ([], [response])):
            break
        if event.kind == "ActionEvent":
            step = [response]
            if event not in answers and not {event.id, str(event.value.get("tool_call_id"))} & ended:
                waiting.add(event)
    return waiting


def _make(event: Event, observation: Event | None) -> Block:
    maker = _MAKERS.get(event.kind)
    if maker is not None:
        return maker(event)
    if event.kind == "ActionEvent":
        return _action(event, observation)
    block = _folded(event, event.kind or "event without a kind")
    block.group = "other"
    return block


def _message(event: Event) -> Block:
    message = as_dict(event.value.get("llm_message"))
    content = message.get("content")
    texts = content_texts(_without_images(content)) + content_texts(event.value.get("extended_content"))
    user = event.value.get("source") == "user"
    sender = event.value.get("sender")
    block = Block("message" if user else "say", "messages", event, who="You" if user else "Agent")
    if isinstance(sender, str) and sender:
        block.who = sender
    block.speaker = "user" if user else "agent" if event.value.get("source") == "agent" else ""
    _show_text(block, "\n\n".join(texts))
    block.reasoning = cut_text(str(message.get("reasoning_content") or ""))
    block.images = image_urls(event.value)
    return block


def _show_text(block: Block, text: str) -> None:
    """Show a message, or only the beginning of a very long one."""
    if len(text) > TEXT_MAX:
        block.length, text = len(text) + block.event.left_out, text[:TEXT_MAX]
    block.html = markup.markdown(text)


def _action(event: Event, observation: Event | None) -> Block:
    action = as_dict(event.value.get("action"))
    thought = cut_text("\n\n".join(text for text in content_texts(event.value.get("thought")) if text.strip()))
    reasoning = cut_text(str(event.value.get("reasoning_content") or ""))
    if action.get("kind") == "FinishAction":
        block = Block("done", "messages", event, who="Agent", speaker="agent")
        _show_text(block, str(action.get("message") or ""))
    else:
        block = Block("step", "tools", event)
        block.tool, block.what = _tool_and_what(event, action)
        block.group = "edits" if _is_edit(action) else "tools"
        block.has_body = True
        _add_result(block, observation)
    block.observation, block.thought, block.reasoning = observation, thought, reasoning
    return block


def _add_result(block: Block, observation: Event | None) -> None:
    """Add the result of an action in a few words, and open the block if the action failed."""
    if observation is None:
        return
    block.observation = observation
    action = as_dict(block.event.value.get("action"))
    seen = as_dict(observation.value.get("observation"))
    block.result, block.bad = _result(seen)
    if not block.bad and seen.get("kind") in _SILENT:
        block.result = Markup()
    tests = count_tests("\n".join(content_texts(seen.get("content")))) if is_command(action) else ""
    for more in (tests, _seconds_between(block.event, observation)):
        if more:
            block.result = Markup("{} · {}").format(block.result, more) if block.result else Markup(more)  # noqa: S704
    if block.bad:
        block.group = "errors"
        _open(block)


def _open(block: Block) -> None:
    """Open a block. Its body is shown at once, unless its texts are cut: then the browser asks for it."""
    block.open = True
    if not block.event.left_out and not (block.observation and block.observation.left_out):
        block.body = make_body(block.event, block.observation)


def _result(seen: dict[str, Any]) -> tuple[Markup, bool]:
    """Return (the result of an observation in a few words, whether it failed)."""
    exit_code = seen.get("exit_code")
    ended = isinstance(exit_code, int) and exit_code != -1
    if ended and exit_code != 0:
        return Markup('<span class="no">exit {}</span>').format(exit_code), True
    if seen.get("is_error") or seen.get("timeout"):
        return Markup('<span class="no">{}</span>').format("timed out" if seen.get("timeout") else "error"), True
    return Markup('<span class="ok">exit 0</span>') if ended else _changes(seen), False


def count_tests(output: str) -> str:
    """Return how many tests passed or failed by the last lines of pytest, Jest, Vitest or cargo, or "" without any."""
    for line in reversed(_match_colour.sub("", output[-_TESTS_IN:]).splitlines()):
        counts = {words.rstrip("s"): int(number) for number, words in _find_counts(line)}
        if not counts or not _is_of_tests(line):
            continue
        failed = counts.get("failed", 0) + counts.get("error", 0)
        return (
            f"{failed:,} of {failed + counts.get('passed', 0):,} failed" if failed else f"{counts['passed']:,} passed"
        )
    return ""


def _changes(seen: dict[str, Any]) -> Markup:
    """Return the result of a successful tool: lines added and removed, lines read, or the beginning of its output."""
    patched = list_patched(seen)
    old, new = seen.get("old_content"), seen.get("new_content")
    text = "\n".join(content_texts(seen.get("content")))
    if seen.get("command") == "create" and not seen.get("prev_exist"):
        return Markup('<span class="plus">+{}</span> new file').format(_count_lines(new))
    if isinstance(old, str) and isinstance(new, str):
        patched = [("", old, new)]
    if patched:
        counts = [markup.count_changes(before, after) for _, before, after in patched]
        added, removed = (sum(numbers) for numbers in zip(*counts, strict=True))
        return Markup('<span class="plus">+{}</span> <span class="minus">{}{}</span>').format(added, _MINUS, removed)
    if seen.get("command") == "view":
        return Markup("{} lines").format(_count_lines(text))
    return Markup("{}").format(_line(text, _RESULT_MAX))


def _observation(event: Event) -> Block:
    """Return the block of an observation whose action is far away or missing."""
    seen = as_dict(event.value.get("observation"))
    block = Block("step", "tools", event, tool=str(event.value.get("tool_name") or "tool"), has_body=True)
    block.what = _line("\n".join(content_texts(seen.get("content"))), _WHAT_MAX)
    block.result, block.bad = _result(seen)
    block.group = "errors" if block.bad else "tools"
    return block


def _acp(event: Event) -> Block:
    value = event.value
    block = Block("step", "tools", event, tool=str(value.get("tool_kind") or "tool"), has_body=True)
    block.what = _line(str(value.get("title") or ""), _WHAT_MAX)
    block.bad = bool(value.get("is_error")) or value.get("status") == "failed"
    block.result = Markup('<span class="{}">{}</span>').format("no" if block.bad else "ok", value.get("status") or "")
    changes = list_acp_diffs(value.get("content"))
    block.group = "errors" if block.bad else "edits" if changes else "tools"
    if block.bad:
        _open(block)
    return block


def _agent_error(event: Event) -> Block:
    return _note(event, "The tool call failed.", str(event.value.get("error") or ""), "bad")


def _conversation_error(event: Event) -> Block:
    retry = as_dict(event.value.get("classification")).get("retryable")
    more = ", may be tried again" if retry else ""
    block = _note(event, "The run failed.", str(event.value.get("detail") or ""), "bad")
    block.what = f"{event.value.get('code') or ''}{more}"
    return block


def _reject(event: Event) -> Block:
    who = "A hook" if event.value.get("rejection_source") == "hook" else "You"
    return _note(event, f"{who} rejected this:", str(event.value.get("rejection_reason") or ""), "warn")


def _hook(event: Event) -> Block:
    value = event.value
    name = str(value.get("hook_event_type") or "")
    if value.get("blocked"):
        block = _note(
            event, f"Hook {name} stopped this:", str(value.get("reason") or value.get("stderr") or ""), "warn"
        )
        block.what = str(value.get("hook_command") or "")
        return block
    block = _folded(event, f"hook {name}")
    block.bad = value.get("success") is False
    block.group = "errors" if block.bad else "state"
    block.what = _line(str(value.get("hook_command") or ""), _WHAT_MAX)
    return block


def _note(event: Event, title: str, text: str, level: str) -> Block:
    html = Markup("{}").format(cut_text(text))
    return Block("note", "errors", event, note=title, html=html, tool=level, bad=level == "bad")


def _condensation(event: Event) -> Block:
    gone = event.value.get("forgotten_event_ids")
    count = len(gone) if isinstance(gone, list) else 0
    text = f"Context condensed: {count} event{'' if count == 1 else 's'} left the model's view"
    summary = cut_text(str(event.value.get("summary") or ""))
    return Block("rule", "messages", event, note=text, html=markup.markdown(summary) if summary else Markup())


def _condensation_summary(event: Event) -> Block:
    summary = markup.markdown(cut_text(str(event.value.get("summary") or "")))
    return Block("rule", "messages", event, note="Summary of what was condensed", html=summary)


def _system_prompt(event: Event) -> Block:
    tools = event.value.get("tools")
    block = _folded(event, "system prompt")
    block.what = f"{len(tools) if isinstance(tools, list) else 0} tools"
    return block


def _state(event: Event) -> Block:
    block = _folded(event, "state")
    key, value = event.value.get("key"), event.value.get("value")
    block.what = f"{key}: {value}" if isinstance(value, str | int | float | bool) else str(key or "")
    block.what = _line(block.what, _WHAT_MAX)
    return block


def _condensation_request(event: Event) -> Block:
    return Block("rule", "state", event, note="Condensation of the context was requested")


def _pause_event(event: Event) -> Block:
    return Block("rule", "state", event, note="Paused" if event.kind == "PauseEvent" else "Interrupted")


def _folded(event: Event, name: str) -> Block:
    return Block("dim", "state", event, tool=name, has_body=True)


_MAKERS: dict[str, Callable[[Event], Block]] = {
    "MessageEvent": _message,
    "ObservationEvent": _observation,
    "ACPToolCallEvent": _acp,
    "AgentErrorEvent": _agent_error,
    "ConversationErrorEvent": _conversation_error,
    "UserRejectObservation": _reject,
    "HookExecutionEvent": _hook,
    "Condensation": _condensation,
    "CondensationSummaryEvent": _condensation_summary,
    "SystemPromptEvent": _system_prompt,
    STATE_UPDATE: _state,
    "CondensationRequest": _condensation_request,
    "PauseEvent": _pause_event,
    "InterruptEvent": _pause_event,
}


def _tool_and_what(event: Event, action: dict[str, Any]) -> tuple[str, str]:
    """Return a short name of a tool, and its most important argument."""
    tool = str(event.value.get("tool_name") or "tool")
    if is_command(action):
        return "terminal", _line(str(action["command"]), _WHAT_MAX)
    if action.get("kind") in _EDITORS:
        return ("read" if action.get("command") == "view" else "edit"), _line(str(action.get("path") or ""), _WHAT_MAX)
    if action.get("kind") == _PATCH:
        patch = str(action.get("patch") or "")
        return "edit", _line(", ".join(_find_patched(patch)) or patch, _WHAT_MAX)
    tasks = list_tasks(action)
    if tasks:
        return "tasks", f"{sum(status == 'done' for status, _ in tasks)} of {len(tasks)} done"
    for name in ("url", "thought", "pattern", "query", "path", "description", "prompt"):
        if isinstance(action.get(name), str) and action[name].strip():
            return tool, _line(action[name], _WHAT_MAX)
    given = {name: value for name, value in action.items() if name != "kind"}
    arguments = as_dict(event.value.get("tool_call")).get("arguments") if not given else None
    return tool, _line(str(arguments) if arguments else orjson.dumps(given).decode(), _WHAT_MAX)


def _is_edit(action: dict[str, Any]) -> bool:
    return action.get("kind") == _PATCH or (action.get("kind") in _EDITORS and action.get("command") != "view")


def _pause(before: Event | None, event: Event) -> tuple[str, str]:
    """Return (the length of the pause before an event if it was long, the date if it is another day)."""
    if before is None or before.time is None or event.time is None:
        return "", ""
    try:
        seconds = (event.time - before.time).total_seconds()
    except TypeError:  # one of the times has a zone
        return "", ""
    day = f"{event.time:%d %B %Y}" if event.time.date() != before.time.date() else ""
    return (f"{_duration(seconds)} later" if seconds > GAP_S else ""), day


def _seconds_between(first: Event, second: Event) -> str:
    if first.time is None or second.time is None:
        return ""
    try:
        seconds = (second.time - first.time).total_seconds()
    except TypeError:
        return ""
    return _duration(seconds) if seconds >= 0.05 else ""


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


def _count_lines(text: object) -> int:
    if not isinstance(text, str) or not text:
        return 0
    return text.count("\n") + (not text.endswith("\n"))


def _line(text: str, longest: int) -> str:
    one = " ".join(text[:_LINE_FROM].split())
    return one if len(one) <= longest and len(text) <= _LINE_FROM else f"{one[: longest - 1]}…"


def _without_images(content: object) -> list[dict[str, Any]]:
    return [one for one in list_dicts(content) if one.get("type") != "image"]
