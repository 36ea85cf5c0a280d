"""`convstore du`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.output import (
    IndexOption,
    JsonOption,
    LateBar,
    NoSyncOption,
    StoreOption,
    make_settings,
    opened,
    print_json,
    print_table,
    run_async,
)
from app.files.disk_usage import DiskUsage
from app.settings import Settings
from app.store.admin.usage import By, StoreUsage, measure


def du_command(
    by: Annotated[By, typer.Option(help="What to add up by; a month is that of the last update.")] = By.CONVERSATION,
    limit: Annotated[int, typer.Option(min=0, help="The most lines, the largest first; 0 shows all.")] = 20,
    store: StoreOption = None,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> None:
    """Show how much disk conversations take, and how many inodes. A file with several names counts once.

    Example: convstore du --by workspace --store workspace/conversations
    """

    async def work(settings: Settings) -> StoreUsage:
        async with opened(settings, no_sync=no_sync) as opened_store:
            with LateBar() as bar:
                return await measure(opened_store, by, limit, bar.show)

    found = run_async(work(make_settings(store=store, index_url=index)))
    if json:
        print_json(asdict(found))
    else:
        _print(found, by)


def _print(found: StoreUsage, by: By) -> None:
    rows = [(*_cells(share.usage), str(share.conversations), share.name) for share in found.shares]
    if len(found.shares) < found.groups:
        rows.append(("", "", "", "", f"and {found.groups - len(found.shares)} more; --limit 0 shows all"))
    whole = DiskUsage()
    for part in (found.conversations.usage, found.trash, found.index, found.other):
        whole.add(part)
    rows.append(("", "", "", "", ""))
    rows.append((*_cells(found.conversations.usage), str(found.conversations.conversations), "all conversations"))
    for name, used in (("trash", found.trash), ("index", found.index), ("other", found.other), ("all", whole)):
        rows.append((*_cells(used), "", name))
    print_table((">ON DISK", ">SIZE", ">INODES", ">CONVERSATIONS", by.upper()), rows)


def _cells(used: DiskUsage) -> tuple[str, str, str]:
    return _short(used.disk_bytes), _short(used.size_bytes), f"{used.inodes:,}"


def _short(size_bytes: int) -> str:
    """Return a size as people read it, in powers of 1024."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
