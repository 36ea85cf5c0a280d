"""Parts of titles, found by their trigrams.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TAKE_OUT = "INSERT INTO title_fts (title_fts, rowid, title_key) VALUES ('delete', old.id, old.title_key);"
_PUT_IN = "INSERT INTO title_fts (rowid, title_key) VALUES (new.id, new.title_key);"
_TRIGGERS = {
    "insert": f"AFTER INSERT ON conversation BEGIN {_PUT_IN} END",
    "delete": f"AFTER DELETE ON conversation BEGIN {_TAKE_OUT} END",
    "update": "AFTER UPDATE OF title_key ON conversation WHEN old.title_key <> new.title_key "
    f"BEGIN {_TAKE_OUT} {_PUT_IN} END",
}


def upgrade() -> None:
    op.execute(
        "CREATE VIRTUAL TABLE title_fts USING fts5("
        "title_key, content='conversation', content_rowid='id', tokenize='trigram case_sensitive 1', columnsize=0)"
    )
    op.execute("INSERT INTO title_fts (title_fts) VALUES ('rebuild')")
    for name, body in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER title_fts_{name} {body}")


def downgrade() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER title_fts_{name}")
    op.execute("DROP TABLE title_fts")
