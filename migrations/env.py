"""How Alembic reaches the index: `app.index.sqlite.migrations` hands a connection over, or `-x index=PATH` names it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, create_engine, event

package = context.config.attributes.get("package", "app")
tables = import_module(f"{package}.index.tables")
connections = import_module(f"{package}.index.sqlite.write_connection")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        include_name=tables.include_name,
        render_as_batch=True,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes.get("on_step", ()),
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    engine = create_engine(connections.sync_url(Path(context.get_x_argument(as_dictionary=True)["index"])))
    event.listen(engine, "connect", connections.on_connect)
    event.listen(engine, "begin", connections.on_begin)
    with engine.connect() as own:
        run(own)
    engine.dispose()
