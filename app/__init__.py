"""convstore: stores the conversations of AI-agent servers. Files hold the data; a SQLite index lists and searches them.

The packages, from the top; imports point down only (import-linter checks this):

    cli     the `convstore` command
    api     the REST API                              web     the page in a browser, as HTML from templates
    store   the use cases, where files and index meet
    index   the SQLite index and all SQL              files   conversation directories, the truth
    model   pure: ids, events, the fold from files to a row, filters, page tokens
    settings, logs, errors, locks, exclusive_rename, filesystem, processes

A program that uses the library needs two names:

    async with ConversationStore.open(Settings(store=DIR)) as store:
        page = await store.list_conversations()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings as Settings
    from .store.store import ConversationStore as ConversationStore

__version__ = "0.2.0"
__all__ = ["ConversationStore", "Settings", "__version__"]


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that a reader process loads no SQL."""
    if name == "ConversationStore":
        from .store.store import ConversationStore  # noqa: PLC0415

        return ConversationStore
    if name == "Settings":
        from .settings import Settings  # noqa: PLC0415

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
