"""The ids of messages say which conversation they are in, so no index has to.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NEW = "((min(id >> 24, 1048575) << 43) | (conversation << 18))"
_OLD = "((id >> 43) << 24)"


def _number(first: str) -> None:
    """Give the messages the ids that follow the first ones, by way of negative ones that collide with none."""
    op.execute(
        f"UPDATE message SET id = -numbered.new FROM (SELECT id AS old, {first}"  # noqa: S608
        f" + row_number() OVER (PARTITION BY {first} ORDER BY id) AS new FROM message) AS numbered"
        " WHERE message.id = numbered.old"
    )
    op.execute("UPDATE message SET id = -id")
    op.execute("INSERT INTO message_fts (message_fts) VALUES ('rebuild')")


def upgrade() -> None:
    op.drop_index("ix_message_id_conversation", "message")
    _number(_NEW)


def downgrade() -> None:
    _number(_OLD)
    op.create_index("ix_message_id_conversation", "message", ["id", "conversation"])
