"""Conversation arguments of commands (ids or prefixes of ids), and printing the result for each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated

import typer

from .. import trail
from ..errors import ConversationNotFound, ConversationOwned
from ..model.ids import ConversationId, dashed
from ..store.store import ConversationStore
from ..store.write.backlog import Done
from .context import sync
from .output import print_json, print_warning

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id, or a prefix of it.")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="The ids, or prefixes of them.")]


async def resolve(store: ConversationStore, text: str) -> ConversationId:
    """Return the only id that begins with a text. Syncs first if the index has none.

    Raises:
        ConversationNotFound: no id begins with the text, or several do.
    """
    try:
        return await store.resolve(text)
    except ConversationNotFound:
        await sync(store)
        return await store.resolve(text)


async def resolve_deleted(store: ConversationStore, text: str, deleted: Sequence[ConversationId]) -> ConversationId:
    """Return the only id that begins with a text, of a conversation or else of those in the trash (sorted).

    Raises:
        ConversationNotFound: no id begins with the text, or several do.
    """
    try:
        return await resolve(store, text)
    except ConversationNotFound:
        return find_deleted(text, deleted)


def find_deleted(text: str, deleted: Sequence[ConversationId]) -> ConversationId:
    """Return the only one of these sorted ids of the trash that begins with a text.

    Raises:
        ConversationNotFound: no id begins with the text, or several do.
    """
    prefix = text.replace("-", "").lower()
    first = bisect_left(deleted, prefix)
    found = [one for one in deleted[first : first + 2] if one.startswith(prefix)] if len(prefix) >= 4 else []
    if len(found) != 1:
        what = "several" if found else "no"
        raise ConversationNotFound(f"{what} conversations in the trash begin with {text!r}; see `convstore trash list`")
    return found[0]


async def resolve_all(store: ConversationStore, texts: Iterable[str], *, force: bool = False) -> list[ConversationId]:
    """Return the ids that begin with the texts, without duplicates, after checking that all may be changed.

    Raises:
        ConversationNotFound: no id begins with one of the texts, or several do.
        ConversationOwned: a conversation has another owner, and `force` is false.
    """
    ids = list(dict.fromkeys([await resolve(store, text) for text in texts]))
    for one in ids:
        try:
            await store.require_deletable(one, force=force)  # deleting and writing need the same lease
        except ConversationOwned as error:
            raise ConversationOwned(f"{error}; or use --force") from error
    return ids


async def do_each(
    done_word: str,
    ids: Iterable[ConversationId],
    act: Callable[[ConversationId], Awaitable[Done]],
    *,
    dry_run: bool,
    json: bool,
) -> None:
    """Change each conversation, and print those that were changed, even if one of them fails."""
    done = []
    warning = None
    try:
        for one in ids:
            if not dry_run:
                trail.mention([dashed(one)])
                warning = (await act(one)).warning or warning
            done.append(one)
    finally:
        print_done(done_word, done, warning, dry_run=dry_run, json=json)


def print_done(
    done_word: str, ids: Iterable[ConversationId], warning: str | None, *, dry_run: bool, json: bool
) -> None:
    """Print which conversations were changed or would be, and the warning of the write."""
    print_warning(warning)
    if json:
        print_json({"ids": [dashed(one) for one in ids], "dry_run": dry_run})
        return
    for one in ids:
        typer.echo(f"{'would be ' if dry_run else ''}{done_word}: {dashed(one)}")
