"""The fold: a pure function from the contents of a conversation's files to its row in the index.

Appends, syncs, rebuilds and verify all use this function, so they compute equal rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from math import inf
from typing import Any, NamedTuple

import orjson

from .costs import usage_json
from .event import STATE_UPDATE, EventFacts
from .filters import Status, shelf_of
from .ids import ConversationId, dashed, find_parent_in_path
from .info import compose_info, is_agent, list_misshapen, related_id
from .secrets import mask_text
from .text.event_text import SAID_VERSION
from .text.tokenizer import SPLIT_VERSION, fold_title
from .times import AHEAD_MAX_US, find_time_us, format_us
from .workspace import normalize_workspace

FOLD_VERSION = 10
"""Increased when the fold or EventFacts change. An index with another version is filled from the files again."""

VERSIONS = f"{FOLD_VERSION}.{SAID_VERSION}.{SPLIT_VERSION}"
"""The version of everything that the index derives from files."""

LOOK_BACK = 64
"""The maximum number of events that are opened at either end of a log to find one with a timestamp."""

TITLE_MAX = 200
_TEXT_MAX = 500
TAG_MAX = 256
"""The maximum length of a tag's key, and of its value, in the index."""

COLUMN_MAX = {"agent_kind": TITLE_MAX, "model": TITLE_MAX}
"""The maximum length of a text in the index. Filters cut their values in the same way, so that they still match.

For workspaces, `normalize_workspace` has its own maximum.
"""

SHARED_FIELDS = (
    "agent", "max_iterations", "stuck_detection", "confirmation_policy", "security_analyzer", "hook_config",
    "launched_agent_profile", "client_tools", "tool_module_qualnames", "current_model_id", "available_models",
    "supports_runtime_model_switch", "runtime_info",
)  # fmt: skip
"""The fields of ConversationInfo that are equal in many conversations. The index stores equal ones once."""

_TAGS_MAX = 100_000
_HEAD = "leaf_event_id"
_STATUSES = frozenset(status.value for status in Status)


class EventTime(NamedTuple):
    """The time of an event.

    `is_past` is false if the time is later than the event's file; then a zone or clock is wrong.
    """

    us: int | None
    is_past: bool


def plausible_event_time(told_us: int | None, mtime_ns: int, placed_ns: int) -> EventTime:
    """Return the time that an event states, or its file's mtime if the stated time is over a day later than the file.

    `placed_ns` is the later of the file's mtime and ctime. The ctime is needed because unpacking a zip may set the
    mtime to 1980.
    """
    if told_us is None:
        return EventTime(None, is_past=True)
    placed_us = placed_ns // 1000
    if told_us > placed_us + AHEAD_MAX_US:
        return EventTime(mtime_ns // 1000, is_past=False)
    return EventTime(told_us, is_past=told_us <= placed_us)


class MetaTimes(NamedTuple):
    """`created_at` and `updated_at` of a meta.json. A time is None if it is missing or implausible."""

    created_us: int | None
    updated_us: int | None

    def needs_first(self, last_us: int | None) -> bool:
        """Whether the fold needs the time of the first event. `last_us` is the time of the last event."""
        return self.created_us is None or self.is_behind(last_us)

    def is_behind(self, last_us: int | None) -> bool:
        """Whether the last event is later than `updated_us`."""
        return last_us is not None and self.updated_us is not None and last_us > self.updated_us

    def fits_log(self, first_us: int | None) -> bool:
        """Whether the first event is earlier than `updated_us` plus one day."""
        if first_us is None or self.updated_us is None:
            return False
        return first_us < self.updated_us + AHEAD_MAX_US


def plausible_meta_times(meta: Mapping[str, Any] | None, placed_ns: int | None) -> MetaTimes:
    """Return the times in a meta.json, except times more than a day after `placed_ns`.

    If `placed_ns` is None, return both.
    """
    told = meta or {}
    created_us, updated_us = find_time_us(told.get("created_at")), find_time_us(told.get("updated_at"))
    latest_us = inf if placed_ns is None else placed_ns // 1000 + AHEAD_MAX_US
    return MetaTimes(
        created_us if created_us is None or created_us <= latest_us else None,
        updated_us if updated_us is None or updated_us <= latest_us else None,
    )


class LogSummary(NamedTuple):
    """The facts about a log that a conversation's row needs.

    Times are microseconds UTC, or None if no event has a time. `last_us` is the time of the last event that is not a
    ConversationStateUpdateEvent, if it is among the last `LOOK_BACK` events. `last_mtime_ns` is the mtime of its file,
    and `since_last` is the number of event files after it. `last_is_past` comes from `plausible_event_time`. `first_us`
    is the time of the first event that has one; it is read only if the fold needs it (`MetaTimes.needs_first`).
    `failed` means that the operating system refused to read some files, so another read may succeed. `preview` is the
    beginning of the first text of a user (`preview_text`), if it is among the first `LOOK_BACK` events.
    """

    event_count: int = 0
    first_us: int | None = None
    last_us: int | None = None
    last_mtime_ns: int = 0
    since_last: int = 0
    failed: bool = False
    last_is_past: bool = True
    preview: str | None = None

    @property
    def needs_preview(self) -> bool:
        """Whether the `preview_text` of the next event counts."""
        return not self.preview and self.event_count < LOOK_BACK

    def with_event(self, facts: EventFacts, preview: str, mtime_ns: int) -> LogSummary:
        """Return the summary after one more event. It equals a new summary of the longer log.

        `preview` is the `preview_text` of that event, which is used only if `needs_preview`.
        """
        time_us, is_past = plausible_event_time(facts.timestamp_us, mtime_ns, mtime_ns)
        first_us, begins = self.first_us, self.preview
        if self.event_count < LOOK_BACK:
            first_us, begins = time_us if first_us is None else first_us, begins or preview or None
        last: tuple[int | None, int, int, bool]
        if time_us is not None and facts.kind != STATE_UPDATE:
            last = time_us, mtime_ns, 0, is_past
        elif self.since_last + 1 >= LOOK_BACK:
            last = None, 0, LOOK_BACK, True
        else:
            last = self.last_us, self.last_mtime_ns, self.since_last + 1, self.last_is_past
        last_us, last_mtime_ns, since_last, last_is_past = last
        return LogSummary(
            self.event_count + 1, first_us, last_us, last_mtime_ns, since_last, self.failed, last_is_past, begins
        )


_NO_FIELDS: Mapping[str, Any] = {}


class ConversationFiles(NamedTuple):
    """The contents of a conversation's directory.

    `meta` and `state` are None if the file is missing or unreadable. `problems` has the reasons, but a missing
    meta.json is not a problem, because the OpenHands CLI never writes one. `failed` means that the operating system
    refused to read a file, so another read may succeed. `sidecar` is the object in convstore.json, or an empty one.
    `modified_us` is the mtime of a file or of events/; it is used only if no other time is known.
    """

    id: ConversationId
    directory: str
    meta: dict[str, Any] | None
    meta_mtime_ns: int
    state: dict[str, Any] | None
    log: LogSummary
    modified_us: int
    problems: tuple[str, ...] = ()
    failed: bool = False
    sidecar: Mapping[str, Any] = _NO_FIELDS
    meta_placed_ns: int | None = None
    """The later of meta.json's mtime and ctime, or None if there is no meta.json."""


class ConversationRow(NamedTuple):
    """A conversation's row in the index.

    `body` is the JSON of its ConversationInfo without skills, and without the fields in `shared`: the JSON of the
    fields that are equal in many conversations (`SHARED_FIELDS`).

    `preview` is the beginning of the first text of a user. `archived` says which lists show it; see
    `shelf_of`. `openable` means that agent-server can open it: both files are readable.
    `usage` is the result of `app.model.costs.usage_json`.
    """

    uuid: ConversationId
    directory: str
    title: str | None
    title_key: str
    status: str
    created_at: int
    updated_at: int
    last_event_at: int
    event_count: int
    workspace: str | None
    agent_kind: str
    model: str | None
    parent: str | None
    forked_from: str | None
    cost: float
    tokens: int
    usage: str | None
    unreadable: str | None
    archived: int
    openable: bool
    pinned: bool
    tags: tuple[tuple[str, str], ...]
    preview: str | None
    shared: bytes
    body: bytes

    @property
    def whole_body(self) -> bytes:
        """The JSON of the ConversationInfo with all fields."""
        return join_bodies(self.body, self.shared)


def join_bodies(body: bytes, shared: bytes | None) -> bytes:
    """Return the JSON object with the fields of both. `body` has at least one field."""
    return b"%b,%b" % (body[:-1], shared[1:]) if shared else body


class IndexedRow(NamedTuple):
    """A row with the signature of its files, computed before they were read."""

    row: ConversationRow
    signature: bytes


class Folded(NamedTuple):
    """A row, the files it was folded from, and its ConversationInfo. `info` is None if it cannot be reused."""

    row: ConversationRow
    files: ConversationFiles
    info: dict[str, Any] | None


def fold(files: ConversationFiles, *, include_skills: bool = False) -> ConversationRow:
    """Return the row of a conversation. Never raises: problems with the files go into the row's `unreadable` text."""
    return _fold_whole(files, include_skills=include_skills).row


def fold_next(before: Folded | None, files: ConversationFiles) -> Folded:
    """Return the same as `fold`, but if only the log and HEAD changed since `before`, reuse the other fields."""
    if before is None or before.info is None or not _only_log_and_head_differ(before.files, files):
        return _fold_whole(files, include_skills=False)
    info = dict(before.info)
    if files.state and _HEAD in files.state:
        info[_HEAD] = mask_text(files.state[_HEAD])
    return _with_log(before.row, info, files)


def _only_log_and_head_differ(before: ConversationFiles, now: ConversationFiles) -> bool:
    """Whether everything else is identical (`is`). False if a HEAD is no string, so that the full fold handles it."""
    same = before.meta is now.meta and before.sidecar is now.sidecar and before.problems == now.problems
    if not same or before.state is None or now.state is None or before.state.keys() != now.state.keys():
        return False
    known = before.state
    if not (isinstance(known.get(_HEAD, ""), str) and isinstance(now.state.get(_HEAD, ""), str)):
        return False
    return not [name for name, value in now.state.items() if value is not known[name] and name != _HEAD]


def _fold_whole(files: ConversationFiles, *, include_skills: bool) -> Folded:
    try:
        return _with_log(*_fold(files, include_skills=include_skills), files)
    except (RecursionError, orjson.JSONEncodeError) as error:
        reason = f"its files cannot be shown: {str(error) or type(error).__name__}"
        bare = files._replace(meta=None, state=None, problems=(*files.problems, reason))
        return _with_log(*_fold(bare, include_skills=False), bare)._replace(info=None)


def _with_log(row: ConversationRow, info: dict[str, Any], files: ConversationFiles) -> Folded:
    """Return the row and info with the fields that depend on the log and the files' times. Changes `info` in place."""
    created_us, updated_us = _times(files)
    last_event_us = files.log.last_us
    if last_event_us is None:
        last_event_us = updated_us if files.log.event_count else created_us
    info["created_at"] = format_us(created_us)
    info["updated_at"] = format_us(updated_us)
    info["last_event_at"] = format_us(last_event_us)
    info["event_count"] = files.log.event_count
    info["preview"] = files.log.preview
    row = row._replace(
        created_at=created_us,
        updated_at=updated_us,
        last_event_at=last_event_us,
        event_count=files.log.event_count,
        preview=files.log.preview,
        body=orjson.dumps(info),
    )
    return Folded(row, files, info)


def _fold(files: ConversationFiles, *, include_skills: bool) -> tuple[ConversationRow, dict[str, Any]]:
    """Return the row and info without the fields that `_with_log` sets."""
    meta = files.meta or {}
    state = files.state or {}
    problems = [*files.problems, *_state_problems(files.state)]
    shaped_state = _shaped("base_state.json", state, problems)
    shaped_meta = _shaped("meta.json", meta, problems)
    path = next((one["workspace"] for one in (state, meta) if isinstance(one.get("workspace"), str)), None)
    if path is not None and not shaped_state.get("workspace"):
        shaped_state = shaped_state | {"workspace": {"kind": "LocalWorkspace", "working_dir": path}}
    cost, tokens = sum_cost_and_tokens(state)
    model = _model(state)
    info = compose_info(shaped_state, shaped_meta, include_skills=include_skills)
    status = Status.ERROR if problems else state.get("execution_status", Status.IDLE)
    title = truncate_text(meta.get("title"), TITLE_MAX)
    unreadable = truncate_text("; ".join(problems), _TEXT_MAX) if problems else None
    archived = files.sidecar.get("archived") is True
    above = find_parent_in_path(files.directory)
    parent = above or related_id(meta, "parent_conversation_id")
    info |= {
        "id": dashed(files.id),
        "title": title,
        "execution_status": status,
        "created_at": "",
        "updated_at": "",
        "last_event_at": "",
        "event_count": 0,
        "preview": None,
        "cost": cost,
        "tokens": tokens,
        "archived": archived,
        "parent_conversation_id": dashed(parent) if parent else None,
        "pinned": files.sidecar.get("pinned") is True,
    }
    if unreadable:
        info["unreadable"] = unreadable
    agent_kind = truncate_text(info["agent"]["kind"], COLUMN_MAX["agent_kind"]) or ""
    shared = orjson.dumps({name: info.pop(name) for name in SHARED_FIELDS if name in info})
    row = ConversationRow(
        uuid=files.id,
        directory=files.directory,
        title=title,
        title_key=fold_title(title),
        status=status,
        created_at=0,
        updated_at=0,
        last_event_at=0,
        event_count=0,
        workspace=_workspace(info["workspace"].get("working_dir")),
        agent_kind=agent_kind,
        model=model,
        parent=parent,
        forked_from=related_id(meta, "forked_from_conversation_id"),
        cost=cost,
        tokens=tokens,
        usage=usage_json(state),
        unreadable=unreadable,
        archived=shelf_of(archived=archived, subagent=above is not None),
        openable=files.meta is not None and files.state is not None,
        pinned=files.sidecar.get("pinned") is True,
        tags=tuple(sorted(_tags(state.get("tags", meta.get("tags"))).items())),
        preview=None,
        shared=shared,
        body=b"",
    )
    return row, info


def _state_problems(state: dict[str, Any] | None) -> list[str]:
    if state is None:
        return []
    problems = []
    status = state.get("execution_status", Status.IDLE)
    if not isinstance(status, str) or status not in _STATUSES:
        problems.append(f"base_state.json: execution_status {str(status)[:40]!r} is not known")
    if not is_agent(state.get("agent")):
        problems.append("base_state.json: no agent")
    return problems


def _shaped(name: str, fields: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the fields that agent-server's clients can parse. Adds the names of the others to `problems`."""
    wrong = list_misshapen(fields)
    if not wrong:
        return fields
    problems.append(f"{name}: unexpected type of {', '.join(wrong)}")
    return {name: value for name, value in fields.items() if name not in wrong}


def _times(files: ConversationFiles) -> tuple[int, int]:
    """Return created_at and updated_at from meta.json, else from the log, else from the directory.

    agent-server keeps updated_at in memory while a conversation is open, so a later event is more recent than
    meta.json. Copying files may lose their mtimes, so times inside the files are compared first: a last event that is
    later than meta.json counts if the log began before `updated_at` or less than a day after it. If the log began
    later, or the last event is later than its own file, the clocks differ. Then the event counts only if its file is
    newer than meta.json.
    """
    meta, log = plausible_meta_times(files.meta, files.meta_placed_ns), files.log
    created_us, updated_us = meta
    if created_us is None:
        created_us = files.modified_us if log.first_us is None else log.first_us
    if updated_us is None:
        updated_us = created_us if log.last_us is None else log.last_us
    elif log.last_us is not None and log.last_us > updated_us:
        is_newer = log.last_mtime_ns > files.meta_mtime_ns
        if is_newer or (log.last_is_past and meta.fits_log(log.first_us)):
            updated_us = log.last_us
    return created_us, updated_us


def find_unsaved_update_us(files: ConversationFiles) -> int | None:
    """Return the `updated_at` that lists show if meta.json states another one. Otherwise return None."""
    told_us = find_time_us((files.meta or {}).get("updated_at"))
    _, listed_us = _times(files)
    return None if told_us is None or told_us == listed_us else listed_us


def _tags(stored: object) -> dict[str, str]:
    """Return the tags that can be filtered by. Long texts are cut, and only the first `_TAGS_MAX` tags count."""
    pairs = stored.items() if isinstance(stored, dict) else ()
    texts = ((key[:TAG_MAX], value[:TAG_MAX]) for key, value in pairs if isinstance(value, str))
    return dict(islice(texts, _TAGS_MAX))


def _model(state: dict[str, Any]) -> str | None:
    """Return the agent's model. An ACP agent's is `acp_model`, or else the one that its program said it uses."""
    agent = state.get("agent")
    if not isinstance(agent, dict):
        return None
    llm, hints = agent.get("llm"), state.get("agent_state")
    model = llm.get("model") if isinstance(llm, dict) else None
    if agent.get("kind") == "ACPAgent":
        said = hints.get("acp_current_model_id") if isinstance(hints, dict) else None
        model = agent.get("acp_model") or said or (None if model == _ACP_MANAGED else model)
    elif not isinstance(llm, dict):
        model = agent.get("acp_model")
    return truncate_text(model, COLUMN_MAX["model"])


_ACP_MANAGED = "acp-managed"
"""The model that openhands-sdk 1.58 stores for an ACP agent without a model (agent/acp_agent.py)."""


def _workspace(path: object) -> str | None:
    """Return the normalized working directory for filters. The body keeps the original spelling."""
    return normalize_workspace(path) if isinstance(path, str) else None


def truncate_text(text: object, most: int) -> str | None:
    """Return `text` cut to `most` characters, with an ellipsis at the end, or None if it is not a string."""
    if not isinstance(text, str):
        return None
    return text if len(text) <= most else text[: most - 1] + "…"


_INT64_MAX = 2**63 - 1


def sum_cost_and_tokens(state: dict[str, Any]) -> tuple[float, int]:
    """Return the cost and the number of prompt and completion tokens, summed over all LLM usages."""
    stats = state.get("stats")
    usages = stats.get("usage_to_metrics") if isinstance(stats, dict) else None
    cost, tokens = 0.0, 0
    for usage in usages.values() if isinstance(usages, dict) else ():
        if not isinstance(usage, dict):
            continue
        cost += _number(usage.get("accumulated_cost"))
        used = usage.get("accumulated_token_usage")
        if isinstance(used, dict):
            tokens += int(_number(used.get("prompt_tokens"))) + int(_number(used.get("completion_tokens")))
    return (cost if math.isfinite(cost) else 0.0), max(min(tokens, _INT64_MAX), -_INT64_MAX)


def _number(value: object) -> float | int:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else 0
