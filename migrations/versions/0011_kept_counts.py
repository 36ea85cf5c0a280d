"""Kept counts: of conversations by their values and days, of the events of long logs; turns and marks of a log.

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

_DAY_US = 86_400_000_000
_BLOCK, _ROWS_READ = 256, 1024
_COLUMNS = ("status", "workspace", "model", "agent_kind")
_TIMES = ("created_at", "updated_at", "last_event_at")
_MARKED = (
    "kind IN ('AgentErrorEvent', 'ConversationErrorEvent', 'Condensation', 'UserRejectObservation',"
    " 'HookExecutionEvent') OR unreadable IS NOT NULL"
)


def upgrade() -> None:
    turns = sa.text("kind = 'MessageEvent' AND source = 'user'")
    op.create_index("ix_event_turns", "event", ["conversation", "seq"], sqlite_where=turns)
    op.create_index("ix_event_marks", "event", ["conversation", "seq"], sqlite_where=sa.text(_MARKED))
    op.create_table(
        "tally",
        sa.Column("facet", sa.Text, nullable=False),
        sa.Column("archived", sa.Integer, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("facet", "archived", "value", name="pk_tally"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tally_day",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("archived", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", "archived", "status", "day", name="pk_tally_day"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_block",
        sa.Column("conversation", sa.Integer, nullable=False),
        sa.Column("block", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("unreadable", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("conversation", "block", "kind", "source", "tool", name="pk_log_block"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversation.id"], name="fk_log_block_conversation", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    _fill_tally()
    op.create_index("ix_tally_number", "tally", ["facet", "archived", "number", "value"])
    op.execute(
        "INSERT INTO log_block (conversation, block, kind, source, tool, events, unreadable)"  # noqa: S608
        f" SELECT conversation, seq / {_BLOCK} AS block, kind, source, coalesce(tool, '') AS tool_name, count(*),"
        f" count(unreadable) FROM event WHERE seq >= {_ROWS_READ} GROUP BY conversation, block, kind, source, tool_name"
    )


def _fill_tally() -> None:
    into = "INSERT INTO tally (facet, archived, value, number) SELECT"
    op.execute(f"{into} '', archived, '', count(*) FROM conversation GROUP BY archived")
    for column in _COLUMNS:
        op.execute(
            f"{into} CASE WHEN {column} IS NULL THEN 'no {column}' ELSE '{column}' END, archived,"
            f" coalesce({column}, ''), count(*) FROM conversation GROUP BY 1, 2, 3"
        )
    op.execute(
        f"{into} 'tagged', archived, '', count(*) FROM conversation"  # noqa: S608
        " WHERE id IN (SELECT conversation FROM conversation_tag) GROUP BY archived"
    )
    tagged = "FROM conversation_tag JOIN conversation ON conversation.id = conversation_tag.conversation"
    op.execute(f"{into} 'tag', conversation.archived, conversation_tag.key, count(*) {tagged} GROUP BY 2, 3")
    op.execute(
        f"{into} 'tag:' || conversation_tag.key, conversation.archived, conversation_tag.value, count(*) {tagged}"
        " GROUP BY 1, 2, 3"
    )
    for time in _TIMES:
        op.execute(
            "INSERT INTO tally_day (name, archived, status, day, number)"  # noqa: S608
            f" SELECT '{time}', archived, status, ({time} - ({time} % {_DAY_US} + {_DAY_US}) % {_DAY_US}) / {_DAY_US},"
            " count(*) FROM conversation GROUP BY archived, status, 4"
        )


def downgrade() -> None:
    op.drop_table("log_block")
    op.drop_table("tally_day")
    op.drop_table("tally")
    op.drop_index("ix_event_marks", "event")
    op.drop_index("ix_event_turns", "event")
