"""The tools: each takes checked arguments, asks the store, and returns an answer for a model's context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

from ..errors import ConversationNotFound
from ..model.filters import ConversationFilter, is_blank
from ..model.hits import HitPage
from ..model.ids import SEQ_MAX, ConversationId, dashed
from ..model.page import View
from ..model.secrets import mask_credentials
from .answers import (
    Answer,
    Links,
    describe_edit,
    describe_facts,
    describe_hit,
    describe_outline,
    describe_row,
    describe_usage,
)
from .arguments import (
    Arguments,
    Filters,
    FindEdits,
    GetEvents,
    GetOutline,
    ListConversations,
    SearchMessages,
    UsageSummary,
)
from .event_texts import show_events
from .scope import Scope

if TYPE_CHECKING:  # `convstore mcp` imports the store after the handshake
    from ..store.read.reader import StoreReader

_WINDOW_MAX_BYTES = 16 << 20
_NOTES_CHARS = 750
"""The room for the warning and the notes of `get_events`."""

RANKED = 1000
"""The maximum number of matches that are ranked. An agent reads few hits, and a search of the API ranks 5,000."""

_NUMBERS = 5
_NUMBER_DIGITS = 12
"""Fewer than the digits of an event id."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the tools work on: a store, the part of it that a server shows, and the addresses of its page."""

    store: StoreReader
    scope: Scope
    links: Links

    async def resolve(self, text: str) -> ConversationId:
        """Return the id that a text spells or begins, of a conversation that this server shows.

        Raises:
            InvalidId: no id can begin with `text`, or several do.
            ConversationNotFound: no conversation of this server has this id.
        """
        wanted = await self.store.resolve(text.removeprefix("conversation://"))
        await self.get_info(wanted)
        return wanted

    async def get_info(self, wanted: ConversationId) -> dict[str, Any]:
        """Return the ConversationInfo of a conversation.

        Raises:
            ConversationNotFound: no conversation of this server has this id.
        """
        info = cast(dict[str, Any], orjson.loads(await self.store.get_conversation(wanted)))
        workspace = info.get("workspace")
        directory = workspace.get("working_dir") if isinstance(workspace, dict) else None
        if not self.scope.admits(directory if isinstance(directory, str) else None):
            raise ConversationNotFound(
                f"no conversation has the id {dashed(wanted)} in {self.scope.workspace}, the limit of this server"
            )
        return info

    async def note_missing(self, asked: ConversationFilter, verb: str) -> list[str]:
        """Return notes on conversations that an answer cannot contain: archived ones, and those not indexed yet."""
        notes = []
        building = self.store.index.building
        if building is not None:
            notes.append("The index is being built and does not have all conversations yet; ask again later.")
        if asked.archived is False:
            archived = await self.store.count_conversations(replace(asked, archived=True))
            if archived:
                notes.append(f'{_counted(archived, "archived conversation")} not {verb}; archived: "any" adds them.')
        if self.scope.workspace is not None:
            notes.append(f"This server is limited to conversations in {self.scope.workspace} and below.")
        return notes


async def search_messages(access: Access, asked: SearchMessages) -> str:
    """Search titles, messages, thoughts, final answers and errors."""
    if is_blank(asked.query):
        return "The query is empty; give words. list_conversations lists without words."
    if asked.conversation_id is not None:
        return await _search_one(access, asked, asked.conversation_id)
    wanted = access.scope.narrow(asked.conversation_filter)
    if wanted is None:
        return _outside(access)
    notes = await access.note_missing(wanted, "searched")

    def note(page: HitPage) -> list[str]:
        return [
            *notes,
            *_note_limits(page),
            "get_events with conversation_id and around reads what was said around a hit.",
        ]

    page = await access.store.search_messages(
        asked.query,
        wanted,
        page_id=asked.page_id,
        limit=asked.limit,
        most=RANKED,
        keep=lambda page: _answer_hits(access, page, "", note(page)).count_fitting(asked.max_chars),
    )
    if not page.items:
        widen = [
            "use fewer or other words, or OR between alternatives",
            *_look_further(asked),
            *_leave_out(asked),
        ]
        return _empty("No message or title matches.", widen, [*notes, *_note_limits(page)])
    return _answer_hits(access, page, "the best hits first", note(page)).text


def _note_limits(page: HitPage) -> list[str]:
    """Return notes on messages that a search did not look through."""
    notes = []
    if page.indexed < page.conversations:
        behind = page.conversations - page.indexed
        notes.append(f"The text of {_counted(behind, 'conversation')} is not indexed yet; ask again later.")
    if page.truncated:
        notes.append(
            f"More than {RANKED:,} messages matched; only the newest {RANKED:,} were ranked. "
            "Rarer words find older messages."
        )
    return notes


async def _search_one(access: Access, asked: SearchMessages, conversation_id: str) -> str:
    if asked.given or "archived" in asked.model_fields_set:
        return "conversation_id searches one conversation; leave out the filters."
    wanted = await access.resolve(conversation_id)
    page = await access.store.find_in_conversation(
        wanted,
        asked.query,
        look_in=asked.look_in,
        page_id=asked.page_id,
        limit=asked.limit,
        keep=lambda page: _answer_hits(access, page, "", []).count_fitting(asked.max_chars),
    )
    if not page.items:
        widen = [
            "use fewer or other words",
            *_look_further(asked),
            "leave out conversation_id",
            "read it with get_outline and get_events",
        ]
        return _empty("No message of this conversation matches.", widen, [])
    return _answer_hits(access, page, f"of {page.total:,} in the order of the events", []).text


def _look_further(asked: SearchMessages) -> list[str]:
    return [] if asked.in_tools else ["in_tools: true searches commands, paths and errors of tools, too"]


def _answer_hits(access: Access, page: HitPage, told: str, notes: list[str]) -> Answer:
    items = [describe_hit(hit, access.links) for hit in page.items]
    return Answer(f"{_counted(len(items), 'hit')}, {told}.", items, [*notes, *_note_next(page.next_page_id)])


async def list_conversations(access: Access, asked: ListConversations) -> str:
    """List conversations."""
    wanted = access.scope.narrow(asked.conversation_filter)
    if wanted is None:
        return _outside(access)
    notes = await access.note_missing(wanted, "listed")
    total = await access.store.count_conversations(wanted)
    if not total:
        return _empty("No conversation matches.", [*_leave_out(asked), "search_messages finds words"], notes)

    async def find(limit: int) -> tuple[list[str], str | None]:
        page = await access.store.list_conversations(
            wanted, order=asked.order, page_id=asked.page_id, limit=limit, view=View.ROW
        )
        return [describe_row(orjson.loads(item), access.links) for item in page.items], page.next_page_id

    items, next_page_id = await find(asked.limit)
    fitting = Answer("", items, notes).count_fitting(asked.max_chars)
    if fitting < len(items):
        items, next_page_id = await find(fitting)
    head = f"{len(items)} of {_counted(total, 'conversation')}, sorted by {asked.sort}."
    return Answer(head, items, [*notes, *_note_next(next_page_id)]).text


async def get_outline(access: Access, asked: GetOutline) -> str:
    """Show a conversation in short."""
    wanted = await access.resolve(asked.conversation_id)
    info = await access.get_info(wanted)
    outline = await access.store.get_outline(wanted)
    response = str(mask_credentials(await access.store.get_final_response(wanted)))
    numbers = f"numbers 0 to {outline.last_seq}" if outline.total else "none"
    head = (
        f"conversation {dashed(wanted)}, {info.get('execution_status')}, {_counted(outline.total, 'event')} ({numbers})"
        f"{', archived' if info.get('archived') else ''}\n{access.links.to(wanted)}"
    )
    facts = describe_facts(info)
    room = asked.max_chars - len(Answer(head, [facts], [""]).text) - 320
    items, notes = describe_outline(outline, response, room)
    if outline.unreadable:
        notes.append(f"{_counted(outline.unreadable, 'event')} cannot be read.")
    notes.append("get_events with around reads the events at a number.")
    return Answer(head, [facts, *items], notes).text


async def get_events(access: Access, asked: GetEvents) -> str:
    """Read events."""
    wanted = await access.resolve(asked.conversation_id)
    log = await access.store.open_log(wanted)
    around, last = asked.around, await log.find_last()
    if last is None:
        return f"conversation {dashed(wanted)} has no readable event."
    if around is None:
        center, before, after = last.seq, asked.before + asked.after, 0
    else:
        is_number = isinstance(around, int) or (around.isdecimal() and len(around) <= _NUMBER_DIGITS)
        center = min(int(around), SEQ_MAX) if is_number else (await log.get_name(str(around))).seq
        before, after = asked.before, asked.after
    first = max(center - before, 0)
    window = await log.begin_window(first, max(center, 0) + after + 1 - first, _WINDOW_MAX_BYTES)
    head = f"conversation {dashed(wanted)}, {window.total} events\n{access.links.to(wanted, max(center, 0))}"
    room, zone = asked.max_chars - len(head) - _NOTES_CHARS, access.store.reader.zone
    shown = await log.work_on(window.names, lambda events: show_events(events, center, room, zone))
    unreadable = sorted({*shown.unreadable, *(one.seq for one in window.unreadable)})
    notes = [
        *_note_numbers("Cut for lack of room; ask for one alone with before: 0, after: 0", shown.cut),
        *_note_numbers("Left out for lack of room; raise max_chars, or ask around them", shown.outside),
        *_note_numbers("Left out as bookkeeping of the server", shown.bookkeeping),
        *_note_numbers("Cannot be read", unreadable),
        *([f"Earlier events: get_events around {min(window.first, last.seq + 1) - 1}."] if window.first else []),
        *([f"Later events: get_events around {window.last + 1}."] if window.last < last.seq else []),
    ]
    if not shown.items:
        return "\n\n".join([f"{head}\nNo event to show around {center}.", "\n".join(notes)])
    return Answer(head, shown.items, notes).text


async def usage_summary(access: Access, asked: UsageSummary) -> str:
    """Sum up cost and tokens."""
    wanted = access.scope.narrow(asked.conversation_filter)
    if wanted is None:
        return _outside(access)
    notes = await access.note_missing(wanted, "counted")
    points = await access.store.list_usage(wanted, asked.by, split=asked.split, since_us=asked.since_us)
    if not points:
        return _empty("No model call is recorded there.", _leave_out(asked), notes)
    total, lines = describe_usage(points, asked.by)
    split = "" if asked.split is None else f" and {asked.split}"
    head = f"All together: {total} tokens.\nBy {asked.by}{split} (UTC), the latest first, as agents recorded it:"
    fitting = Answer(head, lines, notes).count_fitting(asked.max_chars)
    if fitting < len(lines):
        notes.append(f"{len(lines) - fitting:,} earlier or smaller entries are left out; give since, or a longer `by`.")
    return Answer(head, ["\n".join(lines[:fitting])], notes).text


async def find_edits(access: Access, asked: FindEdits) -> str:
    """Find the conversations that changed a file."""
    wanted = access.scope.narrow(asked.conversation_filter)
    if wanted is None:
        return _outside(access)
    notes = [
        *(await access.note_missing(wanted, "searched")),
        "Changes by commands in a terminal are not known.",
    ]
    paths = _spell(asked.path, [access.scope.workspace, asked.workspace])
    found = await access.store.list_edits(paths, asked.limit + 1, wanted)
    if not found:
        widen = ["give the absolute path", *_leave_out(asked), "search_messages with the name of the file"]
        return _empty("No known change of this path; paths are compared exactly.", widen, notes)
    items = [describe_edit(edit, access.links) for edit in found[: asked.limit]]
    fitting = Answer("", items, notes).count_fitting(asked.max_chars)
    if fitting < len(found):
        notes.append("Earlier changes are left out; raise limit or max_chars, or give `before`.")
    return Answer(f"{_counted(fitting, 'change')} of this file, the latest first.", items[:fitting], notes).text


def _spell(path: str, directories: Sequence[str | None]) -> list[str]:
    """Return the spellings of a path: as given, and absolute or relative to the directories."""
    spelled = [path]
    for directory in filter(None, directories):
        above = f"{directory.rstrip('/')}/"
        spelled.append(path.removeprefix(above) if path.startswith(above) else f"{above}{path.removeprefix('./')}")
    return list(dict.fromkeys(spelled))


class Tool(NamedTuple):
    """A tool: its description for the model, its arguments, and the function that runs it."""

    description: str
    arguments: type[Arguments]
    run: Callable[[Access, Any], Awaitable[str]]


TOOLS = {
    "search_messages": Tool(
        "Search what was said in earlier conversations of coding agents: titles, messages, thoughts, final answers, "
        "errors; with in_tools also commands, paths, errors of tools. Use it to find earlier decisions and solutions.",
        SearchMessages,
        search_messages,
    ),
    "list_conversations": Tool(
        "List earlier conversations with title, status, directory, cost and time.",
        ListConversations,
        list_conversations,
    ),
    "get_outline": Tool(
        "Show one conversation in short: what the user said, errors, and the agent's last answer.",
        GetOutline,
        get_outline,
    ),
    "get_events": Tool(
        "Read events of one conversation as text: messages, actions and their results. Use it after a search, around "
        "the event of a hit. Long texts are cut in the middle.",
        GetEvents,
        get_events,
    ),
    "usage_summary": Tool(
        "Sum up cost and tokens of conversations by time, as agents recorded them. Archived ones count, too.",
        UsageSummary,
        usage_summary,
    ),
    "find_edits": Tool(
        "Find which conversations changed a file, and at which event.",
        FindEdits,
        find_edits,
    ),
}
"""The tools by name."""


def _leave_out(asked: Filters) -> list[str]:
    return [f"leave out {', '.join(asked.given)}"] if asked.given else []


def _empty(told: str, widen: Sequence[str], notes: Sequence[str]) -> str:
    return "\n".join([told, *([f"To find more: {'; '.join(widen)}."] if widen else []), *notes])


def _outside(access: Access) -> str:
    return (
        f"Nothing can match: this server is limited to conversations in {access.scope.workspace} and below. "
        "To find more: leave out workspace."
    )


def _note_next(page_id: str | None) -> list[str]:
    return [] if page_id is None else [f'There are more: the same call with page_id "{page_id}".']


def _note_numbers(told: str, numbers: Sequence[int]) -> list[str]:
    if not numbers:
        return []
    shown = ", ".join(map(str, numbers[:_NUMBERS]))
    return [f"{told}: {shown}{f' and {len(numbers) - _NUMBERS} more' if len(numbers) > _NUMBERS else ''}."]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
