"""What tools did has a column of its own beside what was said, so that a search can look into either.

An event has the number of events that a condensation removed, and whether a hook stopped something. The next sync reads
both from the files.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _index(*names: str) -> None:
    """Make the full-text index of these columns anew. FTS5 cannot add a column to a table."""
    words = ", ".join(f"split({name}) AS {name}" for name in names)
    op.execute("DROP TABLE message_fts")
    op.execute("DROP VIEW message_words")
    op.execute(f"CREATE VIEW message_words AS SELECT id, {words} FROM message")  # noqa: S608
    op.execute(
        f"CREATE VIRTUAL TABLE message_fts USING fts5({', '.join(names)}, "
        "content='message_words', content_rowid='id', tokenize='ascii', columnsize=0)"
    )
    op.execute("INSERT INTO message_fts (message_fts) VALUES ('rebuild')")


def upgrade() -> None:
    op.add_column("event", sa.Column("number", sa.Integer))
    op.add_column("message", sa.Column("tool_text", sa.Text, nullable=False, server_default=""))
    _index("text", "tool_text")


def downgrade() -> None:
    _index("text")
    op.execute("DROP VIEW message_words")
    op.drop_column("message", "tool_text")
    op.drop_column("event", "number")
    op.execute("CREATE VIEW message_words AS SELECT id, split(text) AS text FROM message")
