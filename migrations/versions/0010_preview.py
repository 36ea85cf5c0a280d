"""How a conversation's first user message begins, beside its body. The next sync reads it from the files.

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


def downgrade() -> None:
    op.drop_column("conversation_info", "preview")
