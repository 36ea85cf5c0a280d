"""Conversations as people name them: by their ids or the beginnings of them, one or several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import typer

from app.cli.output import print_json, print_warning, synced
from app.errors import ConversationNotFound, ConversationOwned
from app.model.ids import ConversationId, dashed
from app.store.store import ConversationStore
from app.store.write.backlog import Done


async def resolve(store: ConversationStore, text: str) -> ConversationId:
    """Return the id that a text is or begins; where the index knows none, after one comparison with the files."""
    try:
        return await store.resolve(text)
    except ConversationNotFound:
        await synced(store)
        return await store.resolve(text)


async def resolve_all(store: ConversationStore, texts: Iterable[str], *, force: bool = False) -> list[ConversationId]:
    """Return the ids that are named, each once.

    Raises:
        ConversationNotFound: there is no such conversation.
        ConversationOwned: another owner of one of them lives, and `force` is not set.
    """
    ids = list(dict.fromkeys([await resolve(store, text) for text in texts]))
    for one in ids:
        try:
            await store.require_deletable(one, force=force)  # who may delete it may write to it
        except ConversationOwned as error:
            raise ConversationOwned(f"{error}; --force does it all the same") from error
    return ids


async def do_each(
    told: str,
    ids: Iterable[ConversationId],
    act: Callable[[ConversationId], Awaitable[Done]],
    *,
    dry_run: bool,
    json: bool,
) -> None:
    """Do something with each conversation and say with which it was done, also when it fails with one."""
    done = []
    warning = None
    try:
        for one in ids:
            if not dry_run:
                warning = (await act(one)).warning or warning
            done.append(one)
    finally:
        tell(told, done, warning, dry_run=dry_run, json=json)


def tell(what: str, ids: Iterable[ConversationId], warning: str | None, *, dry_run: bool, json: bool) -> None:
    """Say what was, or would be, done with which conversations, and what the index does not show yet."""
    print_warning(warning)
    if json:
        print_json({"ids": [dashed(one) for one in ids], "dry_run": dry_run})
        return
    for one in ids:
        typer.echo(f"{'would be ' if dry_run else ''}{what}: {dashed(one)}")
