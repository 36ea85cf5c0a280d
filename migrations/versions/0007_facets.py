"""Counting by workspace, model and kind of agent without sorting.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NAMES = ("workspace", "model", "agent_kind")


def upgrade() -> None:
    for name in _NAMES:
        op.create_index(f"ix_conversation_{name}", "conversation", ["archived", name])


def downgrade() -> None:
    for name in _NAMES:
        op.drop_index(f"ix_conversation_{name}", "conversation")
