"""`convstore db upgrade | downgrade | current | history | check`: the schema of the index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import IndexOption, JsonOption, StoreOption, make_settings, out, print_json, print_table, run_async
from app.index import schema
from app.index.engine import prepare, writer_lock
from app.index.version import HEAD, read_revision
from app.settings import Settings

app = typer.Typer(
    help="The schema of the index. A server upgrades it by itself; these are for looking and for going back."
)

_FOUND = 1


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go to.")] = "head",
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Migrate the index up, making it when there is none.

    Example: convstore db upgrade --store workspace/conversations
    """
    settings = make_settings(store=store, index_url=index)
    _migrate(settings, lambda path: schema.upgrade(path, revision), json=json)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help='The revision to go back to; "base" empties the index.')],
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Migrate the index down. What is lost is made again from the files after the next upgrade.

    Example: convstore db downgrade base --store workspace/conversations
    """
    settings = make_settings(store=store, index_url=index)
    _migrate(settings, lambda path: schema.downgrade(path, revision), json=json)


def _migrate(settings: Settings, work: Callable[[Path], None], *, json: bool) -> None:
    async def locked() -> None:
        await asyncio.to_thread(prepare, settings.index_path)
        async with writer_lock(settings.index_path, settings.busy_timeout_s):
            await asyncio.to_thread(work, settings.index_path)

    before = read_revision(settings.index_path)
    run_async(locked())
    after = read_revision(settings.index_path)
    if json:
        print_json({"before": before, "after": after})
    else:
        out.print(f"{before or 'nothing'} -> {after or 'nothing'}")


@app.command()
def current(store: StoreOption = None, index: IndexOption = None, json: JsonOption = False) -> None:
    """Show the revision of the index.

    Example: convstore db current --store workspace/conversations
    """
    revision = read_revision(make_settings(store=store, index_url=index).index_path)
    if json:
        print_json({"current": revision, "head": HEAD})
    else:
        out.print(f"{revision or 'no index'} (this program needs {HEAD})")


@app.command()
def history(store: StoreOption = None, index: IndexOption = None, json: JsonOption = False) -> None:
    """Show all revisions, the newest first.

    Example: convstore db history --store workspace/conversations
    """
    revisions = schema.history(make_settings(store=store, index_url=index).index_path)
    if json:
        print_json([revision._asdict() for revision in revisions])
    else:
        rows = ((one.id, "current" if one.current else "", one.summary) for one in revisions)
        print_table(("REVISION", "", "WHAT"), rows)


@app.command()
def check(store: StoreOption = None, index: IndexOption = None, json: JsonOption = False) -> None:
    """Compare the index's tables with what this program expects. Exit code 1 when they differ.

    Example: convstore db check --store workspace/conversations
    """
    differences = schema.drift(make_settings(store=store, index_url=index).index_path)
    if json:
        print_json(differences)
    else:
        for line in differences or ["the schema is as this program expects it"]:
            out.print(line)
    if differences:
        raise typer.Exit(_FOUND)
