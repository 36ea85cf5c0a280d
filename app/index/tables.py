"""The table definitions. Only migrations create tables; `convstore db check` compares both.

Times are integer microseconds UTC. The table `conversation` has only the columns that filters and sort orders use.
"""

from __future__ import annotations

from sqlalchemy import (
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

conversation = Table(
    "conversation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", String(32), nullable=False),
    Column("directory", String(36), nullable=False, comment="the directory's name, with or without dashes"),
    Column("title", Text),
    Column("title_key", Text, nullable=False, server_default="", comment="the title as it is sorted and searched"),
    Column("status", String(32), nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("updated_at", Integer, nullable=False),
    Column("last_event_at", Integer, nullable=False),
    Column("event_count", Integer, nullable=False, comment="event files, readable or not"),
    Column("workspace", Text),
    Column("agent_kind", Text, nullable=False),
    Column("model", Text),
    Column("parent", String(32), comment="uuid of the parent conversation"),
    Column("forked_from", String(32), comment="uuid of the conversation that this one was forked from"),
    Column("cost", Float, nullable=False),
    Column("tokens", Integer, nullable=False, comment="prompt and completion tokens"),
    Column("usage", Text, comment="cost and tokens by hour and model, as JSON"),
    Column("unreadable", Text, comment="why the conversation cannot be read as it should"),
    Column(
        "archived",
        Integer,
        nullable=False,
        server_default="0",
        comment="1: archived, and 2 more: a sub-agent's; left out of lists unless asked for",
    ),
    Column("openable", Integer, nullable=False, server_default="1", comment="1: agent-server can open it"),
    Column("pinned", Integer, nullable=False, server_default="0", comment="1: never pruned"),
    Column("signature", LargeBinary, nullable=False, comment="of its files when they were read; empty: read again"),
    Column("events_behind", Integer, nullable=False, comment="1 while its event rows may lag behind its log"),
    Column("revision", Integer, nullable=False, server_default="0", comment="of the change that it was last part of"),
    Column("owner", Text, comment="the server that holds its lease, as last seen"),
    Column("owner_until", Integer, comment="when that lease ends"),
    Column("dirty_by", String(64), comment="who has it open for writing; of a dead one, a crash left it so"),
    Column("lease_generation", Integer, nullable=False, server_default="0", comment="of the owner who writes its rows"),
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
    Index("ix_conversation_forked_from", "forked_from", sqlite_where=text("forked_from IS NOT NULL")),
    Index("ix_conversation_events_behind", "id", sqlite_where=text("events_behind = 1")),
    Index("ix_conversation_unreadable", "id", sqlite_where=text("unreadable IS NOT NULL")),
    Index("ix_conversation_revision", "revision", "uuid"),
    Index("ix_conversation_owner_until", "owner_until", sqlite_where=text("owner_until IS NOT NULL")),
    Index("ix_conversation_unsettled", "id", sqlite_where=text("length(signature) < 16")),
    Index("ix_conversation_dirty_by", "id", sqlite_where=text("dirty_by IS NOT NULL")),
    sqlite_autoincrement=True,  # keys are never reused, so that late event rows cannot be added to another conversation
)

conversation_info = Table(
    "conversation_info",
    metadata,
    Column("conversation", Integer, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False, comment="the JSON of its ConversationInfo, without skills"),
    Column("preview", Text, comment="how the first user's message begins"),
)

conversation_tag = Table(
    "conversation_tag",
    metadata,
    Column("conversation", Integer, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("ix_conversation_tag_key", "key", "value", "conversation"),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    Column("conversation", Integer, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, comment="its number in the log"),
    Column("event_id", Text, primary_key=True, comment="empty: stands for missing files"),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("timestamp", Integer),
    Column("tool", Text),
    Column("unreadable", Text, comment="why its file cannot be served"),
    Index(
        "ix_event_errors",
        "conversation",
        "kind",
        sqlite_where=text("kind IN ('AgentErrorEvent', 'ConversationErrorEvent')"),
    ),
    sqlite_with_rowid=False,
)

activity = Table(
    "activity",
    metadata,
    Column("conversation", Integer, ForeignKey("conversation.id", ondelete="CASCADE"), primary_key=True),
    Column("quarter", Integer, primary_key=True, comment="a quarter of an hour, counted from 1970 in UTC"),
    Column("events", Integer, nullable=False, comment="events with a time in it, readable or not"),
    Index("ix_activity_quarter", "quarter", "conversation", "events"),
    sqlite_with_rowid=False,
)

edit = Table(
    "edit",
    metadata,
    Column("conversation", Integer, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("path", Text, primary_key=True, comment="a file that the event says was changed"),
    ForeignKeyConstraint(
        ["conversation", "seq", "event_id"], ["event.conversation", "event.seq", "event.event_id"], ondelete="CASCADE"
    ),
    Index("ix_edit_path", "path"),
    sqlite_with_rowid=False,
)

message = Table(
    "message",
    metadata,
    Column("id", Integer, primary_key=True, comment="the hour, its conversation, and a number (messageids)"),
    Column("conversation", Integer, ForeignKey("conversation.id"), nullable=False),
    Column("seq", Integer, nullable=False, comment="of its event; -1: the conversation's title"),
    Column("event_id", Text, nullable=False),
    Column("text", Text, nullable=False, comment="what was said, bounded, secrets masked"),
    Index("ix_message_conversation_seq", "conversation", "seq"),
)
"""The migration also makes the view `message_words`, and the FTS5 table `message_fts` over that view.

A conversation cannot be deleted while it has messages, so that no message is deleted before its words
(`app.index.sqlite.text_index`).
"""

sync_state = Table(
    "sync_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("phase", String(16), nullable=False, comment="idle, metadata, events or text"),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("heartbeat_at", Integer, nullable=False, comment="when the running sync last said something"),
    Column("last_sweep_at", Integer, comment="when the index was last compared with the whole directory"),
    Column("last_error", Text),
    Column("derived_by", Text, comment="version of the fold and time zone that made the rows"),
    CheckConstraint("id = 1", name="single_row"),
)

revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", String(16), nullable=False, comment="random, one per build of the index"),
    Column("revision", Integer, nullable=False, comment="rises with every committed change"),
    Column("forgotten", Integer, nullable=False, server_default="0", comment="deletions up to here are not kept"),
    CheckConstraint("id = 1", name="single_row"),
)

deletion = Table(
    "deletion",
    metadata,
    Column("uuid", String(32), primary_key=True),
    Column("revision", Integer, nullable=False, comment="of the change that deleted the conversation"),
    Index("ix_deletion_revision", "revision", "uuid"),
    sqlite_with_rowid=False,
)


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic compares an object with this name. SQLite itself makes FTS5's tables."""
    return not (kind == "table" and name is not None and name.startswith(("message_fts", "title_fts")))
