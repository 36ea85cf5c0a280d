"""How Alembic reaches the index: `app.index.sqlite.migrations` hands a connection over, or `-x index=PATH` names it."""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import Connection, create_engine, event

from app.index.sqlite.write_connection import on_begin, on_connect, sync_url
from app.index.tables import include_name, metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
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
    engine = create_engine(sync_url(Path(context.get_x_argument(as_dictionary=True)["index"])))
    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    with engine.connect() as own:
        run(own)
    engine.dispose()
