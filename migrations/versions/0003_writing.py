"""Who has a conversation open for writing, and the generation of the lease under which its rows are written.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "conversation",
        sa.Column("dirty_by", sa.String(64), comment="who has it open for writing; of a dead one, a crash left it so"),
    )
    op.add_column(
        "conversation",
        sa.Column(
            "lease_generation",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="of the owner who writes its rows",
        ),
    )
    op.create_index("ix_conversation_dirty_by", "conversation", ["id"], sqlite_where=sa.text("dirty_by IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_conversation_dirty_by", "conversation")
    op.drop_column("conversation", "lease_generation")
    op.drop_column("conversation", "dirty_by")
