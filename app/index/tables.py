"""The table definitions. Only migrations create tables; `convstore db check` compares both.

Times are integer microseconds UTC. The table `conversation` has only the columns that filters and sort orders use.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    column,
    table,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_INTEGER = BigInteger().with_variant(Integer, "sqlite")
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""PostgreSQL sorts with the rules of a language unless told otherwise; SQLite compares the bytes."""


def _string(length: int) -> String:
    return String(length).with_variant(Text(collation="C"), "postgresql")


def _partial(condition: str) -> dict[str, Any]:
    """Return the arguments of a database index of the rows that meet a condition.

    `app.index.postgres.own_tables` adds PostgreSQL's, because SQLAlchemy would import that dialect here.
    """
    return {"sqlite_where": text(condition)}


conversation = Table(
    "conversation",
    metadata,
    Column("id", _INTEGER, primary_key=True),
    Column("uuid", _string(32), nullable=False),
    Column("directory", _string(36), nullable=False, comment="the directory's name, with or without dashes"),
    Column("title", _TEXT),
    Column("title_key", _TEXT, nullable=False, server_default="", comment="the title as it is sorted and searched"),
    Column("status", _string(32), nullable=False),
    Column("created_at", _INTEGER, nullable=False),
    Column("updated_at", _INTEGER, nullable=False),
    Column("last_event_at", _INTEGER, nullable=False),
    Column("event_count", _INTEGER, nullable=False, comment="event files, readable or not"),
    Column("workspace", _TEXT),
    Column("agent_kind", _TEXT, nullable=False),
    Column("model", _TEXT),
    Column("parent", _string(32), comment="uuid of the parent conversation"),
    Column("forked_from", _string(32), comment="uuid of the conversation that this one was forked from"),
    Column("cost", Float, nullable=False),
    Column("tokens", _INTEGER, nullable=False, comment="prompt and completion tokens"),
    Column("usage", _TEXT, comment="cost and tokens by hour and model, as JSON"),
    Column("unreadable", _TEXT, comment="why the conversation cannot be read as it should"),
    Column(
        "archived",
        _INTEGER,
        nullable=False,
        server_default="0",
        comment="1: archived, and 2 more: a sub-agent's; left out of lists unless asked for",
    ),
    Column("openable", _INTEGER, nullable=False, server_default="1", comment="1: agent-server can open it"),
    Column("pinned", _INTEGER, nullable=False, server_default="0", comment="1: never pruned"),
    Column("signature", LargeBinary, nullable=False, comment="of its files when they were read; empty: read again"),
    Column("events_behind", _INTEGER, nullable=False, comment="1 while its event rows may lag behind its log"),
    Column("revision", _INTEGER, nullable=False, server_default="0", comment="of the change that it was last part of"),
    Column("owner", _TEXT, comment="the server that holds its lease, as last seen"),
    Column("owner_until", _INTEGER, comment="when that lease ends"),
    Column("dirty_by", _string(64), comment="who has it open for writing; of a dead one, a crash left it so"),
    Column(
        "lease_generation", _INTEGER, nullable=False, server_default="0", comment="of the owner who writes its rows"
    ),
    CheckConstraint("events_behind IN (0, 1)", name="events_behind"),
    Index("uq_conversation_uuid", "uuid", unique=True),
    Index("uq_conversation_directory", "directory", unique=True),
    *(
        Index(f"ix_conversation_{name}", "archived", name, "uuid")
        for name in ("created_at", "updated_at", "last_event_at", "title_key", "cost", "event_count")
    ),
    *(Index(f"ix_conversation_{name}", "archived", name) for name in ("workspace", "model", "agent_kind")),
    Index("ix_conversation_status_created_at", "archived", "status", "created_at", "uuid"),
    Index("ix_conversation_status_updated_at", "archived", "status", "updated_at", "uuid"),
    Index("ix_conversation_parent", "parent", "created_at", "uuid"),
    Index("ix_conversation_forked_from", "forked_from", **_partial("forked_from IS NOT NULL")),
    Index("ix_conversation_events_behind", "id", **_partial("events_behind = 1")),
    Index("ix_conversation_unreadable", "id", **_partial("unreadable IS NOT NULL")),
    Index("ix_conversation_revision", "revision", "uuid"),
    Index("ix_conversation_owner_until", "owner_until", **_partial("owner_until IS NOT NULL")),
    Index("ix_conversation_unsettled", "id", **_partial("length(signature) < 16")),
    Index("ix_conversation_dirty_by", "id", **_partial("dirty_by IS NOT NULL")),
    sqlite_autoincrement=True,  # keys are never reused, so that late event rows cannot be added to another conversation
)

# with rowids: in a table without, a body of over a kilobyte would be on a page of its own
shared_info = Table(
    "shared_info",
    metadata,
    Column("hash", LargeBinary, primary_key=True, comment="of the body"),
    Column("body", LargeBinary, nullable=False, comment="JSON of fields that several conversations have in common"),
)

conversation_info = Table(
    "conversation_info",
    metadata,
    Column("conversation", _INTEGER, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False, comment="the JSON of its ConversationInfo, without skills"),
    Column("preview", _TEXT, comment="how the first user's message begins"),
    Column("shared", LargeBinary, comment="the hash of the fields that the body does not have; null: it has all"),
    Index("ix_conversation_info_shared", "shared"),
)

conversation_tag = Table(
    "conversation_tag",
    metadata,
    Column("conversation", _INTEGER, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("key", _TEXT, primary_key=True),
    Column("value", _TEXT, nullable=False),
    Index("ix_conversation_tag_key", "key", "value", "conversation"),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    Column("conversation", _INTEGER, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", _INTEGER, primary_key=True, comment="its number in the log"),
    Column("event_id", _TEXT, primary_key=True, comment="empty: stands for missing files"),
    Column("kind", _TEXT, nullable=False),
    Column("source", _TEXT, nullable=False),
    Column("timestamp", _INTEGER),
    Column("tool", _TEXT),
    Column("unreadable", _TEXT, comment="why its file cannot be served"),
    Column("number", _INTEGER, comment="events that a condensation removed; 1: a hook that stopped something"),
    Index(
        "ix_event_errors",
        "conversation",
        "kind",
        **_partial("kind IN ('AgentErrorEvent', 'ConversationErrorEvent')"),
    ),
    Index("ix_event_turns", "conversation", "seq", **_partial("kind = 'MessageEvent' AND source = 'user'")),
    Index(
        "ix_event_marks",
        "conversation",
        "seq",
        **_partial(
            "kind IN ('AgentErrorEvent', 'ConversationErrorEvent', 'Condensation', 'UserRejectObservation',"
            " 'HookExecutionEvent') OR unreadable IS NOT NULL"
        ),
    ),
    sqlite_with_rowid=False,
)

tally = Table(
    "tally",
    metadata,
    Column("facet", _TEXT, primary_key=True, comment="what is counted (app.index.tally)"),
    Column("archived", _INTEGER, primary_key=True, autoincrement=False),
    Column("value", _TEXT, primary_key=True),
    Column("number", _INTEGER, nullable=False, comment="conversations with this value"),
    Index("ix_tally_number", "facet", "archived", "number", "value"),
    sqlite_with_rowid=False,
)

tally_day = Table(
    "tally_day",
    metadata,
    Column("name", _TEXT, primary_key=True, comment="created_at, updated_at or last_event_at"),
    Column("archived", _INTEGER, primary_key=True, autoincrement=False),
    Column("status", _TEXT, primary_key=True),
    Column("day", _INTEGER, primary_key=True, autoincrement=False, comment="counted from 1970 in UTC"),
    Column("number", _INTEGER, nullable=False, comment="conversations with this status whose time is on this day"),
    sqlite_with_rowid=False,
)

log_block = Table(
    "log_block",
    metadata,
    Column("conversation", _INTEGER, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("block", _INTEGER, primary_key=True, comment="256 numbers of the log; the first 1,024 have no blocks"),
    Column("kind", _TEXT, primary_key=True),
    Column("source", _TEXT, primary_key=True),
    Column("tool", _TEXT, primary_key=True, comment="empty: none"),
    Column("events", _INTEGER, nullable=False, comment="events of this kind in the block, readable or not"),
    Column("unreadable", _INTEGER, nullable=False, comment="how many of them are unreadable"),
    sqlite_with_rowid=False,
)

activity = Table(
    "activity",
    metadata,
    Column("conversation", _INTEGER, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("quarter", _INTEGER, primary_key=True, comment="a quarter of an hour, counted from 1970 in UTC"),
    Column("events", _INTEGER, nullable=False, comment="events with a time in it, readable or not"),
    Index("ix_activity_quarter", "quarter", "conversation", "events"),
    sqlite_with_rowid=False,
)

edit = Table(
    "edit",
    metadata,
    Column("conversation", _INTEGER, primary_key=True),
    Column("seq", _INTEGER, primary_key=True),
    Column("event_id", _TEXT, primary_key=True),
    Column("path", _TEXT, primary_key=True, comment="a file that the event says was changed"),
    ForeignKeyConstraint(
        ["conversation", "seq", "event_id"], ["event.conversation", "event.seq", "event.event_id"], ondelete="CASCADE"
    ),
    Index("ix_edit_path", "path"),
    sqlite_with_rowid=False,
)

message = Table(
    "message",
    metadata,
    Column("id", _INTEGER, primary_key=True, comment="the hour, its conversation, and a number (messageids)"),
    Column("conversation", _INTEGER, ForeignKey("conversation.id"), nullable=False),
    Column("seq", _INTEGER, nullable=False, comment="of its event; -1: the conversation's title"),
    Column("event_id", _TEXT, nullable=False),
    Column("text", _TEXT, nullable=False, comment="what was said, bounded, secrets masked"),
    Column("tool_text", _TEXT, nullable=False, server_default="", comment="what a tool did, likewise"),
    Index("ix_message_conversation_seq", "conversation", "seq"),
)
"""The migration also makes the view `message_words`, and the FTS5 table `message_fts` over that view.

A conversation cannot be deleted while it has messages, so that no message is deleted before its words
(`app.index.sqlite.text_index`).
"""

message_words = table("message_words", column("id", _INTEGER), column("words"))
"""In PostgreSQL, the words of each message as a tsvector (`app.index.postgres.own_tables`)."""

sync_state = Table(
    "sync_state",
    metadata,
    Column("id", _INTEGER, primary_key=True),
    Column("phase", _string(16), nullable=False, comment="idle, metadata, events or text"),
    Column("done", _INTEGER, nullable=False),
    Column("total", _INTEGER, nullable=False),
    Column("heartbeat_at", _INTEGER, nullable=False, comment="when the running sync last said something"),
    Column("last_sweep_at", _INTEGER, comment="when the index was last compared with the whole directory"),
    Column("last_error", _TEXT),
    Column("derived_by", _TEXT, comment="version of the fold and time zone that made the rows"),
    CheckConstraint("id = 1", name="single_row"),
)

revision = Table(
    "revision",
    metadata,
    Column("id", _INTEGER, primary_key=True),
    Column("epoch", _string(16), nullable=False, comment="random, one per build of the index"),
    Column("revision", _INTEGER, nullable=False, comment="rises with every committed change"),
    Column("forgotten", _INTEGER, nullable=False, server_default="0", comment="deletions up to here are not kept"),
    CheckConstraint("id = 1", name="single_row"),
)

deletion = Table(
    "deletion",
    metadata,
    Column("uuid", _string(32), primary_key=True),
    Column("revision", _INTEGER, nullable=False, comment="of the change that deleted the conversation"),
    Index("ix_deletion_revision", "revision", "uuid"),
    sqlite_with_rowid=False,
)


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic compares an object with this name. SQLite itself makes FTS5's tables."""
    return not (kind == "table" and name is not None and name.startswith(("message_fts", "title_fts")))
