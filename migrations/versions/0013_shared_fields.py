"""Fields that several conversations have in common, above all the agent, are stored once.

Bodies keep all their fields until the next sync reads the conversations again.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shared_info",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_shared_info"),
    )
    op.add_column("conversation_info", sa.Column("shared", sa.LargeBinary))
    op.create_index("ix_conversation_info_shared", "conversation_info", ["shared"])


def downgrade() -> None:
    op.execute(
        "UPDATE conversation_info SET body = (SELECT CAST(substr(conversation_info.body, 1,"
        " length(conversation_info.body) - 1) || ',' || substr(shared_info.body, 2) AS BLOB)"
        " FROM shared_info WHERE shared_info.hash = conversation_info.shared) WHERE shared IS NOT NULL"
    )
    op.drop_index("ix_conversation_info_shared", "conversation_info")
    op.drop_column("conversation_info", "shared")
    op.drop_table("shared_info")
