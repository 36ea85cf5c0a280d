"""A preview, cost and tokens by hour, whether agent-server can open it, pins, errors, edits of files, and activity.

The next sync reads the columns from the files.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_QUARTER_US = 900_000_000


def upgrade() -> None:
    op.add_column("conversation_info", sa.Column("preview", sa.Text))
    op.add_column("conversation", sa.Column("usage", sa.Text))
    op.add_column("conversation", sa.Column("openable", sa.Integer, nullable=False, server_default="1"))
    op.add_column("conversation", sa.Column("pinned", sa.Integer, nullable=False, server_default="0"))
    errors = sa.text("kind IN ('AgentErrorEvent', 'ConversationErrorEvent')")
    op.create_index("ix_event_errors", "event", ["conversation", "kind"], sqlite_where=errors)
    key = ["conversation", "seq", "event_id"]
    op.create_table(
        "edit",
        sa.Column("conversation", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(*key, "path", name="pk_edit"),
        sa.ForeignKeyConstraint(
            key, [f"event.{name}" for name in key], name="fk_edit_conversation_seq_event_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_edit_path", "edit", ["path"])
    op.create_table(
        "activity",
        sa.Column("conversation", sa.Integer, nullable=False),
        sa.Column("quarter", sa.Integer, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("conversation", "quarter", name="pk_activity"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversation.id"], name="fk_activity_conversation", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO activity (conversation, quarter, events)"  # noqa: S608
        f" SELECT conversation, (timestamp - (timestamp % {_QUARTER_US} + {_QUARTER_US}) % {_QUARTER_US})"
        f" / {_QUARTER_US} AS quarter, count(*) FROM event WHERE timestamp IS NOT NULL GROUP BY conversation, quarter"
    )
    op.create_index("ix_activity_quarter", "activity", ["quarter", "conversation", "events"])


def downgrade() -> None:
    op.drop_table("activity")
    op.drop_table("edit")
    op.drop_index("ix_event_errors", "event")
    op.drop_column("conversation", "pinned")
    op.drop_column("conversation", "openable")
    op.drop_column("conversation", "usage")
    op.drop_column("conversation_info", "preview")
