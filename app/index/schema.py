"""The schema and its migrations, from a checkout or from an installed wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DatabaseError

from app.errors import IndexUnusable, SchemaTooNew
from app.index.engine import on_begin, on_connect, sync_url
from app.index.tables import metadata
from app.index.version import HEAD, read_revision

_PACKAGE = Path(__file__).resolve().parent.parent


class Revision(NamedTuple):
    """A migration: its id, what it does, and whether the index stands there."""

    id: str
    summary: str
    current: bool


def history(path: Path) -> list[Revision]:
    """Return all migrations, the newest first."""
    now = read_revision(path)
    return [Revision(s.revision, (s.doc or "").splitlines()[0], s.revision == now) for s in _scripts().walk_revisions()]


def require_known(path: Path) -> str | None:
    """Return the index's revision after making sure that this program knows it.

    Raises:
        SchemaTooNew: it does not, so the index was made by a newer program.
    """
    now = read_revision(path)
    if now is not None and now not in {revision.id for revision in history(path)}:
        raise SchemaTooNew(
            f"the index {path} has schema {now}, which this convstore does not know (its newest is {HEAD}): "
            "a newer convstore made it. Upgrade convstore, or give this one an index of its own with "
            "CONVSTORE_INDEX_URL=sqlite:////another/path/index.db; it is built from the files"
        )
    return now


def upgrade(path: Path, target: str = "head") -> None:
    """Migrate the index up to `target`. The caller holds the writer lock.

    Raises:
        SchemaTooNew: the index is newer than this program.
        IndexUnusable: the file is no database, or `target` is no revision.
    """
    require_known(path)
    with _config(path) as config, _explained(target):
        command.upgrade(config, target)


def downgrade(path: Path, target: str) -> None:
    """Migrate the index down to `target`; "base" leaves no table. The caller holds the writer lock.

    Raises:
        SchemaTooNew: the index is newer than this program.
        IndexUnusable: the file is no database, or `target` is no revision below.
    """
    require_known(path)
    with _config(path) as config, _explained(target):
        command.downgrade(config, target)


def drift(path: Path) -> list[str]:
    """Return how the index's tables differ from what this program's migrations and tables say; nothing when equal."""
    now = require_known(path)
    if now != HEAD:
        return [f"the schema is at {now or 'nothing'}, this program needs {HEAD}: run `convstore db upgrade`"]
    with _connect(path) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]


def _scripts() -> ScriptDirectory:
    inside = _PACKAGE / "migrations"
    return ScriptDirectory(str(inside if inside.is_dir() else _PACKAGE.parent / "migrations"))


@contextmanager
def _explained(target: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise IndexUnusable(f"cannot migrate to {target!r}: {error}; see `convstore db history`") from error


@contextmanager
def _connect(path: Path, *, writing: bool = False) -> Iterator[Connection]:
    engine = create_engine(sync_url(path))
    event.listen(engine, "connect", on_connect)
    if writing:
        event.listen(engine, "begin", on_begin)
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise IndexUnusable(
            f"the index {path} cannot be used ({error.orig}); "
            "move it away and run `convstore index rebuild`: it is made again from the files"
        ) from error
    finally:
        engine.dispose()


@contextmanager
def _config(path: Path) -> Iterator[Config]:
    with _connect(path, writing=True) as connection:
        config = Config()
        config.set_main_option("script_location", _scripts().dir.replace("%", "%%"))
        config.attributes["connection"] = connection
        yield config
