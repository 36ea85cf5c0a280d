"""Whether a store exists, before it is opened. This looks at files alone, so it needs no SQL."""

from __future__ import annotations

from ..errors import StoreUnavailable
from ..files import census, layout, trash
from ..settings import Settings


def require_directory(settings: Settings) -> None:
    """Check, before a store is opened, that the conversations directory exists.

    Raises:
        StoreUnavailable: the directory does not exist, or the operating system refuses access.
    """
    try:
        exists = settings.root.is_dir()
    except OSError as error:
        raise layout.store_unavailable(settings.root, error) from error
    if not exists:
        raise StoreUnavailable(
            f"{settings.shown_root} is not a directory; give the directory that contains the conversations, "
            "which is workspace/conversations for agent-server"
        )
    if census.is_conversation(settings.root):
        raise StoreUnavailable(
            f"{settings.shown_root} is one conversation; give the directory that contains it: {settings.root.parent}"
        )


def require_store(settings: Settings) -> None:
    """Check that the store exists: it has an index, a conversation, or something in the trash.

    Only commands that make a new store skip this check. So a mistyped path gets no index.

    Raises:
        StoreUnavailable: there is no store; the message says what the directory contains.
    """
    require_directory(settings)
    root = settings.root
    if settings.index_path.exists() or census.has_conversation(root) or trash.list_trash(root):
        return
    found = "; ".join(census.describe(census.take_census(root)).values()) or "it is empty"
    nested = census.find_nested(root)
    raise StoreUnavailable(
        f"{settings.shown_root} has no conversation ({found}); "
        f"give the directory that has the conversation directories{f': {nested}' if nested else ''}. "
        "`convstore serve` and `convstore import` make a new store in an empty directory"
    )
