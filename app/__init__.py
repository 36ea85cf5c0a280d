"""convstore: stores the conversations of AI-agent servers. Files hold the data; a SQLite index lists and searches them.

The packages, from the top; imports point down only (import-linter checks this):

    cli     the `convstore` command
    api     the REST API                              web     the page in a browser, as HTML from templates
    mcp     tools for agents, by the Model Context Protocol
    store   the use cases, where files and index meet
    index   the SQLite index and all SQL              files   conversation directories, the truth
    model   pure: ids, events, the fold from files to a row, filters, page tokens
    settings, logs, trail, errors, locks, exclusive_rename, filesystem, processes, raw_search

The names in `__all__` are the library's API; docs/library.md describes them.

    with ConversationStore.open_sync("workspace/conversations") as store:
        store.sync()
        for conversation in store.walk_conversations():
            print(conversation["title"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import StoreError as StoreError
    from .model.archive_format import ExportFormat as ExportFormat
    from .model.facets import Facet as Facet
    from .model.filters import ConversationFilter as ConversationFilter
    from .model.filters import EventFilter as EventFilter
    from .model.filters import Status as Status
    from .model.filters import Tag as Tag
    from .model.page import EventOrder as EventOrder
    from .model.page import SortOrder as SortOrder
    from .model.page import View as View
    from .model.periods import Period as Period
    from .settings import Settings as Settings
    from .store.store import ConversationStore as ConversationStore
    from .store.sync_store import SyncStore as SyncStore

__version__ = "0.2.0"

_MODULES = {
    "ConversationFilter": "model.filters",
    "ConversationStore": "store.store",
    "EventFilter": "model.filters",
    "EventOrder": "model.page",
    "ExportFormat": "model.archive_format",
    "Facet": "model.facets",
    "Period": "model.periods",
    "Settings": "settings",
    "SortOrder": "model.page",
    "Status": "model.filters",
    "StoreError": "errors",
    "SyncStore": "store.sync_store",
    "Tag": "model.filters",
    "View": "model.page",
}
"""The module of each public name. It is imported when the name is first used, so that a small program loads no SQL."""

__all__ = [
    "ConversationFilter",
    "ConversationStore",
    "EventFilter",
    "EventOrder",
    "ExportFormat",
    "Facet",
    "Period",
    "Settings",
    "SortOrder",
    "Status",
    "StoreError",
    "SyncStore",
    "Tag",
    "View",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
