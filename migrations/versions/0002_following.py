"""Following: which change a row came with, what was deleted, who owns a conversation, what has to be read again soon.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES = ("revision", "owner_until", "unsettled")


def upgrade() -> None:
    op.add_column("conversation", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("conversation", sa.Column("owner", sa.Text()))
    op.add_column("conversation", sa.Column("owner_until", sa.Integer()))
    op.create_index("ix_conversation_revision", "conversation", ["revision", "uuid"])
    op.create_index(
        "ix_conversation_owner_until",
        "conversation",
        ["owner_until"],
        sqlite_where=sa.text("owner_until IS NOT NULL"),
    )
    op.create_index("ix_conversation_unsettled", "conversation", ["id"], sqlite_where=sa.text("length(signature) < 16"))
    op.add_column("revision", sa.Column("forgotten", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "deletion",
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_deletion"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_deletion_revision", "deletion", ["revision", "uuid"])


def downgrade() -> None:
    op.drop_table("deletion")
    op.drop_column("revision", "forgotten")
    for name in _INDEXES:
        op.drop_index(f"ix_conversation_{name}", "conversation")
    for name in ("owner_until", "owner", "revision"):
        op.drop_column("conversation", name)
