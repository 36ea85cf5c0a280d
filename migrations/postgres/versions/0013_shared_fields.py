"""Fields that several conversations have in common, above all the agent, are stored once.

Bodies keep all their fields until the next sync reads the conversations again.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE shared_info (hash BYTEA NOT NULL, body BYTEA NOT NULL,"
        " CONSTRAINT pk_shared_info PRIMARY KEY (hash))"
    )
    op.execute("ALTER TABLE conversation_info ADD COLUMN shared BYTEA")
    op.execute("CREATE INDEX ix_conversation_info_shared ON conversation_info (shared)")


def downgrade() -> None:
    op.execute(
        "UPDATE conversation_info SET body = substring(conversation_info.body FOR length(conversation_info.body) - 1)"
        " || convert_to(',', 'UTF8') || substring(shared_info.body FROM 2)"
        " FROM shared_info WHERE shared_info.hash = conversation_info.shared"
    )
    op.execute("ALTER TABLE conversation_info DROP COLUMN shared")
    op.execute("DROP TABLE shared_info")
