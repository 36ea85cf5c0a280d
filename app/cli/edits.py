"""`convstore edits`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..logs import printable
from ..model.transcript import name_conversation
from ..store.read.index_reader import PAGE_MAX
from .context import SyncContextOptions
from .output import counted, out, print_json


def edits_command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file, as the agent named it, or relative to here.")],
    context: SyncContextOptions,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of changes to show.")] = PAGE_MAX,
) -> None:
    """Show which conversations changed a file, the latest change first. Changes by terminal commands are not known.

    Example: convstore edits src/app.py --store workspace/conversations
    """
    paths = list(dict.fromkeys((path, str(Path.cwd() / path))))
    found = context.run_synced(lambda store: store.list_edits(paths, limit))
    if context.json:
        print_json([one.as_json() for one in found])
        return
    for one in found:
        time = (one.as_json()["timestamp"] or "")[:16].replace("T", " ")
        name = printable(name_conversation(one.title, one.preview))
        out.print(f"{one.conversation_id[:8]}  {time:16}  event {one.seq:<5} {name}")
    out.print(counted(len(found), "change"), style="dim")
