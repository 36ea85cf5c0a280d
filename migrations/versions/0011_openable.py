"""Whether agent-server can open a conversation. The next sync reads it from the files.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversation", sa.Column("openable", sa.Integer, nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("conversation", "openable")
