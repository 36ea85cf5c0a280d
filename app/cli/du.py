"""`convstore du`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..store.admin.usage import By, DiskUsage, StoreUsage, measure
from ..store.store import ConversationStore
from .context import SyncDirContextOptions
from .output import LateBar, print_json, print_table


def du_command(
    *,
    by: Annotated[
        By, typer.Option(help="The field to group by; a month is that of the last update.")
    ] = By.CONVERSATION,
    limit: Annotated[int, typer.Option(min=0, help="The maximum number of lines, largest first; 0 shows all.")] = 20,
    context: SyncDirContextOptions,
) -> None:
    """Show the disk space and inodes of conversations. A file with several hard links counts once.

    Example: convstore du --by workspace --store workspace/conversations
    """

    async def work(store: ConversationStore) -> StoreUsage:
        with LateBar() as bar:
            return await measure(store, by, limit, bar.show)

    found = context.run_synced(work)
    if context.json:
        print_json(asdict(found))
    else:
        _print(found, by)


def _print(found: StoreUsage, by: By) -> None:
    rows = [(*_format_usage(share.usage), str(share.conversations), share.name) for share in found.shares]
    if len(found.shares) < found.groups:
        rows.append(("", "", "", "", f"and {found.groups - len(found.shares)} more; --limit 0 shows all"))
    whole = DiskUsage()
    for part in (found.conversations.usage, found.trash, found.index, found.other):
        whole.add(part)
    rows.append(("", "", "", "", ""))
    rows.append(
        (*_format_usage(found.conversations.usage), str(found.conversations.conversations), "all conversations")
    )
    for name, used in (("trash", found.trash), ("index", found.index), ("other", found.other), ("all", whole)):
        rows.append((*_format_usage(used), "", name))
    print_table((">ON DISK", ">SIZE", ">INODES", ">CONVERSATIONS", by.upper()), rows)


def _format_usage(used: DiskUsage) -> tuple[str, str, str]:
    return _format_size(used.disk_bytes), _format_size(used.size_bytes), f"{used.inodes:,}"


def _format_size(size_bytes: int) -> str:
    """Return a size with its unit, a power of 1024 bytes."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
