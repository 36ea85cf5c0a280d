"""The index: conversations, their events, and how far it is.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conversation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("directory", sa.String(36), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Integer(), nullable=False),
        sa.Column("last_event_at", sa.Integer(), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("workspace", sa.Text()),
        sa.Column("agent_kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("parent", sa.String(32)),
        sa.Column("forked_from", sa.String(32)),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("unreadable", sa.Text()),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("events_behind", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversation"),
        sa.CheckConstraint("events_behind IN (0, 1)", name="events_behind"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_conversation_uuid", "conversation", ["uuid"], unique=True)
    op.create_index("uq_conversation_directory", "conversation", ["directory"], unique=True)
    op.create_index("ix_conversation_created_at", "conversation", ["created_at", "uuid"])
    op.create_index("ix_conversation_updated_at", "conversation", ["updated_at", "uuid"])
    op.create_index("ix_conversation_status_created_at", "conversation", ["status", "created_at", "uuid"])
    op.create_index("ix_conversation_status_updated_at", "conversation", ["status", "updated_at", "uuid"])
    op.create_index("ix_conversation_parent", "conversation", ["parent", "created_at", "uuid"])
    op.create_index("ix_conversation_events_behind", "conversation", ["id"], sqlite_where=sa.text("events_behind = 1"))
    op.create_index(
        "ix_conversation_unreadable", "conversation", ["id"], sqlite_where=sa.text("unreadable IS NOT NULL")
    )
    op.create_table(
        "conversation_info",
        sa.Column("conversation", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("conversation", name="pk_conversation_info"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversation.id"], name="fk_conversation_info_conversation", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "event",
        sa.Column("conversation", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.Integer()),
        sa.Column("tool", sa.Text()),
        sa.Column("unreadable", sa.Text()),
        sa.PrimaryKeyConstraint("conversation", "seq", "event_id", name="pk_event"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversation.id"], name="fk_event_conversation", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    sync_state = op.create_table(
        "sync_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", sa.Integer(), nullable=False),
        sa.Column("last_sweep_at", sa.Integer()),
        sa.Column("last_error", sa.Text()),
        sa.Column("derived_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_sync_state"),
        sa.CheckConstraint("id = 1", name="single_row"),
    )
    revisions = op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sa.CheckConstraint("id = 1", name="single_row"),
    )
    op.bulk_insert(sync_state, [{"id": 1, "phase": "idle", "done": 0, "total": 0, "heartbeat_at": 0}])
    op.bulk_insert(revisions, [{"id": 1, "epoch": secrets.token_hex(8), "revision": 0}])


def downgrade() -> None:
    for table in ("revision", "sync_state", "event", "conversation_info", "conversation"):
        op.drop_table(table)
