"""How Alembic reaches an index in PostgreSQL: `app.index.postgres.migrations` hands a connection over."""

from __future__ import annotations

from importlib import import_module

from alembic import context

package = context.config.attributes["package"]
shared = import_module(f"{package}.index.tables")
own = import_module(f"{package}.index.postgres.own_tables")

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[shared.metadata, own.own_metadata],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
