"""Events as the page reads them, and the insides of their folded blocks: diffs, output, tasks, fields as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from markupsafe import Markup

from ..model.event import content_texts, image_urls
from . import markup

TEXT_MAX = 100_000
"""The longest text, in characters, that is shown at once."""
IMAGE_MAX = 8192
"""The longest address of an image in an event, in characters, that is in the HTML of the page."""
_CUT = "\n… cut; the raw event has all"
_WHOLE_MAX = 4_000_000


@dataclass(slots=True, eq=False)
class Event:
    """A readable event with its number. `value` is its JSON with secrets masked.

    `left_out` is the number of characters in the middle of its long texts that are left out.
    """

    seq: int
    value: dict[str, Any]
    left_out: int = 0

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.value.get("id") or "")

    @property
    def kind(self) -> str:
        """The name of its class."""
        return str(self.value.get("kind") or "")

    @property
    def time(self) -> datetime | None:
        """Its timestamp as in the file, often without a zone. None if it is invalid."""
        try:
            return datetime.fromisoformat(str(self.value.get("timestamp")))
        except ValueError:
            return None


@dataclass(slots=True)
class Body:
    """The inside of a folded block: diffs by the paths of their files, tasks, text, output, fields as JSON, images."""

    diffs: list[tuple[str, markup.Diff]] = field(default_factory=list)
    tasks: list[tuple[str, str]] = field(default_factory=list)
    html: Markup = field(default_factory=Markup)
    output: Markup | None = None
    shown: int = 0
    total: int = 0
    fields: Markup = field(default_factory=Markup)
    images: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Drop everything after it was rendered, see `event_blocks.clear_block`."""
        self.diffs, self.tasks, self.html, self.output, self.fields, self.images = [], [], Markup(), None, Markup(), []


def make_body(event: Event, observation: Event | None, *, whole: bool = False) -> Body:
    """Return the body of a block; with `whole`, all lines of an output."""
    action = as_dict(event.value.get("action"))
    seen = as_dict((observation or event).value.get("observation"))
    if event.kind == "ACPToolCallEvent":
        return _acp_body(event, whole=whole)
    if list_patched(seen) or "old_content" in seen or "new_content" in seen:
        return _edit_body(seen, action)
    if list_tasks(action):
        return Body(tasks=list_tasks(action))
    if action.get("kind") == "ThinkAction":
        return Body(html=markup.markdown(cut_text(str(action.get("thought") or ""))))
    text = "\n".join(content_texts(seen.get("content"))) or _error_text(observation)
    if seen.get("kind") == "TerminalObservation" or is_command(action):
        return _output_body(text, whole=whole)
    body = _output_body(text, whole=whole) if text else Body()
    body.images = image_urls((observation or event).value)
    body.fields = _tree(action or event.value)
    return body


def is_command(action: dict[str, Any]) -> bool:
    """Whether an action runs a command in a terminal."""
    return action.get("kind") in ("TerminalAction", "ExecuteBashAction") and isinstance(action.get("command"), str)


def list_patched(seen: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (path, old text, new text) of each file that a patch changed, from its observation."""
    changes = as_dict(as_dict(seen.get("commit")).get("changes"))
    return [
        (str(one.get("move_path") or path), str(one.get("old_content") or ""), str(one.get("new_content") or ""))
        for path, one in changes.items()
        if isinstance(one, dict)
    ]


def list_tasks(action: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (status, title) of each task of a list."""
    return [(str(one.get("status") or ""), str(one.get("title") or "")) for one in list_dicts(action.get("task_list"))]


def cut_images(urls: list[str]) -> list[str]:
    """Return the addresses of images, of a large one in the event only so much that it is known to be large."""
    return [url[: IMAGE_MAX + 1] for url in urls]


def _edit_body(seen: dict[str, Any], action: dict[str, Any]) -> Body:
    path = str(seen.get("path") or action.get("path") or "")
    old, new = seen.get("old_content"), seen.get("new_content")
    old, new = old if isinstance(old, str) else "", new if isinstance(new, str) else ""
    changed = list_patched(seen) or [(path, old, new)]
    return Body(diffs=[(name, markup.diff(before, after, name)) for name, before, after in changed])


def _output_body(text: str, *, whole: bool) -> Body:
    last = markup.tail(text, _WHOLE_MAX, _WHOLE_MAX) if whole else markup.tail(text)
    return Body(output=markup.terminal(last.text), shown=last.shown, total=last.total)


def list_acp_diffs(content: object) -> list[dict[str, Any]]:
    """Return the diffs among the contents of an ACP tool call."""
    return [one for one in list_dicts(content) if one.get("type") == "diff"]


def _acp_body(event: Event, *, whole: bool) -> Body:
    diffs = list_acp_diffs(event.value.get("content"))
    if diffs:
        return Body(diffs=[_acp_diff(one) for one in diffs])
    parts = [as_dict(one.get("content")).get("text") for one in list_dicts(event.value.get("content"))]
    text = "\n".join(part for part in parts if isinstance(part, str))
    output = event.value.get("raw_output")
    body = _output_body(text or (output if isinstance(output, str) else ""), whole=whole)
    body.fields = _tree(event.value.get("raw_input"))
    return body


def _acp_diff(one: dict[str, Any]) -> tuple[str, markup.Diff]:
    old, new = one.get("oldText") or one.get("old_text"), one.get("newText") or one.get("new_text")
    path = str(one.get("path") or "")
    return path, markup.diff(str(old or ""), str(new or ""), path)


def _error_text(event: Event | None) -> str:
    return str(event.value.get("error") or "") if event is not None else ""


def _tree(value: object) -> Markup:
    """Return a value of JSON as a tree, and nothing for null."""
    return Markup() if value is None else markup.json_tree(value if isinstance(value, dict | list) else [value])


def cut_text(text: str, longest: int = TEXT_MAX) -> str:
    """Return the beginning of a text that is longer than `longest`, and that it is cut."""
    return text if len(text) <= longest else f"{text[:longest]}{_CUT}"


def as_dict(value: object) -> dict[str, Any]:
    """Return a value if it is an object of JSON, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_dicts(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list of JSON; [] if the value is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
