"""A preview, cost and tokens by hour, and whether agent-server can open it. The next sync reads them from the files.

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


def upgrade() -> None:
    op.add_column("conversation_info", sa.Column("preview", sa.Text))
    op.add_column("conversation", sa.Column("usage", sa.Text))
    op.add_column("conversation", sa.Column("openable", sa.Integer, nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("conversation", "openable")
    op.drop_column("conversation", "usage")
    op.drop_column("conversation_info", "preview")
