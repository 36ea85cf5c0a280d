"""What was said: the bounded text of titles and events, and a full-text index over its words.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conversation", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sa.ForeignKeyConstraint(["conversation"], ["conversation.id"], name="fk_message_conversation"),
    )
    op.create_index("ix_message_conversation_seq", "message", ["conversation", "seq"])
    op.create_index("ix_message_id_conversation", "message", ["id", "conversation"])
    op.execute("CREATE VIEW message_words AS SELECT id, split(text) AS text FROM message")
    op.execute(
        "CREATE VIRTUAL TABLE message_fts USING fts5("
        "text, content='message_words', content_rowid='id', tokenize='ascii', columnsize=0)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE message_fts")
    op.execute("DROP VIEW message_words")
    op.drop_table("message")
