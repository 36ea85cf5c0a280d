"""Resources: whole conversations as quoted Markdown, under `conversation://ID`."""

from __future__ import annotations

from contextlib import aclosing
from typing import NamedTuple

import orjson

from ..model.archive_format import ExportFormat
from ..model.filters import ConversationFilter
from ..model.ids import dashed
from ..model.page import SortOrder, View
from ..model.transcript import name_conversation
from .answers import Answer
from .quoting import quote, shorten
from .tools import Access

SCHEME = "conversation://"
MARKDOWN = "text/markdown"
CHARS_MAX = 100_000
"""The length of a resource. A model reads the rest with `get_events`."""

_LISTED = 20
_NAME_MAX = 100


class Listed(NamedTuple):
    """A conversation in the list of resources."""

    uri: str
    name: str
    description: str


async def list_recent(access: Access) -> list[Listed]:
    """Return the conversations that changed last. All others can be read by their ids, too."""
    wanted = access.scope.narrow(ConversationFilter())
    if wanted is None:
        return []
    page = await access.store.list_conversations(wanted, order=SortOrder.UPDATED_AT_DESC, limit=_LISTED, view=View.ROW)
    rows = [orjson.loads(item) for item in page.items]
    return [
        Listed(
            f"{SCHEME}{row['id']}",
            f"conversation {row['id'][:8]}",
            f"Its title, quoted: {_between_quotes(name_conversation(row['title'], row['preview']))}",
        )
        for row in rows
    ]


def _between_quotes(text: str) -> str:
    """Return text as one line between quotation marks. Those in the text are escaped, so that it cannot end there."""
    return orjson.dumps(shorten(text, _NAME_MAX)).decode()


async def read_conversation(access: Access, uri: str) -> str:
    """Return a conversation as Markdown, each line quoted, with secrets masked as in exports.

    Raises:
        InvalidId: no id can begin with what follows the scheme, or several do.
        ConversationNotFound: no conversation of this server has this id.
    """
    from ..store.admin.archive_export import (  # noqa: PLC0415 - as `TYPE_CHECKING` in `tools`
        ExportReport,
        aiter_of,
        export,
        find_named,
    )

    wanted = await access.resolve(uri)
    text = b""
    cut = False
    report = ExportReport()
    named = aiter_of(await find_named(access.store, [wanted]))
    async with aclosing(export(access.store.reader, named, ExportFormat.MARKDOWN, report)) as pieces:
        async for piece in pieces:
            text += piece
            if len(text) > CHARS_MAX:
                cut = True
                break
    quoted = quote(text.decode("utf-8", "replace"))[:CHARS_MAX]
    notes = [f"{len(report.left_out)} files are left out, because they cannot be read."] if report.left_out else []
    if cut:
        notes.append(f"Only the first {CHARS_MAX:,} characters; get_events reads the rest.")
    return Answer(f"conversation {dashed(wanted)}, {access.links.to(wanted)}", [quoted], notes).text
