"""Tags of conversations.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conversation_tag",
        sa.Column("conversation", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("conversation", "key", name="pk_conversation_tag"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversation.id"], name="fk_conversation_tag_conversation", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_conversation_tag_key", "conversation_tag", ["key", "value", "conversation"])


def downgrade() -> None:
    op.drop_table("conversation_tag")
