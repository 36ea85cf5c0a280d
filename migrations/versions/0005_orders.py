"""Lists in more orders, and without archived conversations.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = {
    "created_at": ["created_at"],
    "updated_at": ["updated_at"],
    "status_created_at": ["status", "created_at"],
    "status_updated_at": ["status", "updated_at"],
}
_NEW = {name: [name] for name in ("last_event_at", "title_key", "cost", "event_count")}


def upgrade() -> None:
    op.add_column(
        "conversation",
        sa.Column(
            "title_key", sa.Text, nullable=False, server_default="", comment="the title as it is sorted and searched"
        ),
    )
    op.add_column(
        "conversation",
        sa.Column(
            "archived",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="1: left out of lists unless asked for",
        ),
    )
    for name in _BEFORE:
        op.drop_index(f"ix_conversation_{name}", "conversation")
    for name, columns in (_BEFORE | _NEW).items():
        op.create_index(f"ix_conversation_{name}", "conversation", ["archived", *columns, "uuid"])
    op.create_index(
        "ix_conversation_forked_from",
        "conversation",
        ["forked_from"],
        sqlite_where=sa.text("forked_from IS NOT NULL"),
    )


def downgrade() -> None:
    for name in (*_BEFORE, *_NEW, "forked_from"):
        op.drop_index(f"ix_conversation_{name}", "conversation")
    for name in ("archived", "title_key"):
        op.drop_column("conversation", name)
    for name, columns in _BEFORE.items():
        op.create_index(f"ix_conversation_{name}", "conversation", [*columns, "uuid"])
