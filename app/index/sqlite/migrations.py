"""The schema and its migrations, from a checkout or from an installed wheel.

Alembic is imported inside functions, because that takes 0.2 s and few starts migrate.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from sqlalchemy import Connection, create_engine, event, update
from sqlalchemy.exc import DatabaseError

from ...errors import IndexBusy, MigrationFailed, SchemaTooNew
from ...model.conversation import VERSIONS
from ..state import RECOVERING
from ..tables import include_name, metadata, sync_state
from . import index_file, integrity, open_lock
from .db_errors import ERRORS, During, damaged_index, explain
from .index_file import exists
from .open_lock import MIGRATION_WAIT_S
from .schema_shape import SHAPE_SQL, as_shape, require_parts
from .write_connection import on_begin, on_connect, sync_url

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationInfo
    from alembic.script import ScriptDirectory

HEAD = "0013"
"""The newest migration; a test in `tests/migrations` checks this."""

_LOOK_AGAIN_S = 0.2
_PACKAGE = Path(__file__).resolve().parents[2]


OnStep = Callable[[str], None]
"""Called with the new revision of each step, after its result was checked and before it is committed."""


def ignore_step(_revision: str) -> None:
    """Do nothing."""


class Revision(NamedTuple):
    """A migration: its id, its summary, and whether it is the index's current revision."""

    id: str
    summary: str
    current: bool


def history(path: Path) -> list[Revision]:
    """Return all migrations, newest first."""
    now = read_revision(path)
    return [Revision(s.revision, (s.doc or "").splitlines()[0], s.revision == now) for s in _scripts().walk_revisions()]


class Plan(NamedTuple):
    """The plan of a migration: its steps in order, and the size of the index.

    `reads_again` means that the next sync reads all conversations, as a rebuild does.
    """

    before: str | None
    after: str | None
    steps: list[Revision]
    size_bytes: int
    free_bytes: int
    rows: dict[str, int]
    reads_again: bool


def plan(path: Path, target: str, *, down: bool = False) -> Plan:
    """Return the plan for migrating up or down to `target`.

    Raises:
        SchemaTooNew: the index is newer than this program.
        IndexUnusable: the file is not a database.
        MigrationFailed: there is no revision `target` in that direction.
    """
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    now = require_known(path)
    script = _scripts()
    try:
        if down:
            found = [] if now is None else list(script.iterate_revisions(now, _none_for_base(script, now, target)))
            after = found[-1].down_revision if found else now
        else:
            found = [] if _is_at(now, target) else list(script.iterate_revisions(target, now or "base"))[::-1]
            after = found[-1].revision if found else now
    except (CommandError, RevisionError) as error:
        raise _no_target(target, error) from error
    rows, derived_by = _measure(path) if now else ({}, None)
    return Plan(
        before=now,
        after=str(after) if after else None,
        steps=[Revision(one.revision, (one.doc or "").splitlines()[0], current=one.revision == now) for one in found],
        size_bytes=path.stat().st_size if now else 0,
        free_bytes=shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0,
        rows=rows,
        reads_again=bool(found) and now is not None and (down or not (derived_by or "").startswith(f"{VERSIONS}:")),
    )


def _is_at(now: str | None, target: str) -> bool:
    return now == (HEAD if target == "head" else target)


def _none_for_base(script: ScriptDirectory, now: str, target: str) -> str:
    """Return the revision to migrate down to. `target` may be relative to `now`, such as -1."""
    from alembic.util import CommandError

    if not target.startswith("-"):
        return target
    ids = [revision.revision for revision in script.iterate_revisions(now, "base")]
    steps = int(target[1:]) if target[1:].isdecimal() else 0
    if not 0 < steps <= len(ids):
        raise CommandError(f"there are {len(ids)} revisions to go down")
    return ids[steps] if steps < len(ids) else "base"


def _measure(path: Path) -> tuple[dict[str, int], str | None]:
    with _connect(path) as connection:
        database = _driver(connection)
        return integrity.count_rows(database), integrity.find_derivation(database)


def _no_target(target: str, error: Exception) -> MigrationFailed:
    return MigrationFailed(f"cannot migrate to {target!r}: {error}; see `convstore db history`")


def require_known(path: Path) -> str | None:
    """Return the index's revision, if this program knows it.

    Raises:
        SchemaTooNew: a newer program made the index.
        IndexUnusable: it has tables, but no revision.
    """
    now = read_revision(path)
    if now is None and _has_tables(path):
        raise damaged_index(path, "it has tables, but its schema is marked as nothing")
    if now is not None and now not in {revision.id for revision in history(path)}:
        if not (now.isdecimal() and now > HEAD):
            raise damaged_index(path, f"its schema is marked as {now[:20]!r}")
        raise SchemaTooNew(
            f"the index {path} has schema {now}, which this convstore does not know (its newest is {HEAD}): "
            "a newer convstore made it. Upgrade convstore, or give this one an index of its own with "
            "CONVSTORE_INDEX_URL=sqlite:////another/path/index.db; it is built from the files"
        )
    return now


def upgrade(
    path: Path, target: str = "head", *, wait_s: float = MIGRATION_WAIT_S, on_step: OnStep = ignore_step
) -> None:
    """Migrate the index up to `target`, if necessary. No other process may have the index open.

    Each step is a transaction, which is checked before its commit. If a step fails or is interrupted, the index stays
    as it was before that step.

    Raises:
        SchemaTooNew: the index is newer than this program.
        IndexBusy: another process has the index open.
        IndexUnusable: the file is not a database, or its directory is not writable.
        MigrationFailed: `target` is not a later revision, or a step failed; the index is as it was before that step.
    """
    from alembic import command

    wanted = HEAD if target == "head" else target
    _while_alone(path, wanted, wait_s, lambda: _migrate(path, wanted, command.upgrade, on_step))


def downgrade(path: Path, target: str, *, wait_s: float = MIGRATION_WAIT_S, on_step: OnStep = ignore_step) -> None:
    """Migrate the index down to `target`; "base" removes all tables. No other process may have the index open.

    The first sync after a later upgrade reads all files, which restores the lost data.

    Raises:
        SchemaTooNew, IndexBusy, IndexUnusable, MigrationFailed: as for `upgrade`.
    """
    from alembic import command

    _while_alone(path, target, wait_s, lambda: _migrate(path, target, command.downgrade, on_step))


def _while_alone(path: Path, target: str, wait_s: float, work: Callable[[], None]) -> None:
    """Wait until no other process has the index open, and run `work` unless the index is already at `target`."""
    deadline = time.monotonic() + wait_s
    while (require_known(path) or "base") != target:
        try:
            with open_lock.hold_alone(path, min(_LOOK_AGAIN_S, wait_s)):
                if (require_known(path) or "base") != target:
                    work()
                return
        except IndexBusy:
            if time.monotonic() > deadline:
                raise


def _migrate(path: Path, target: str, work: Callable[[Config, str], None], on_step: OnStep) -> None:
    from alembic.util import CommandError

    index_file.make_private(path)
    with _connect(path, writing=True) as connection:
        _require_shape(path, _driver(connection))
        before = integrity.count_rows(_driver(connection))

        def checked(*, step: MigrationInfo, **_: object) -> None:
            """Check the result of a step inside its transaction."""
            database = _driver(connection)
            revision = str(step.up_revision_id if step.is_upgrade else next(iter(step.down_revision_ids), "base"))
            if not step.is_upgrade:
                integrity.invalidate_rows(database)
            found = integrity.find_faults(database, before)
            if found:
                raise MigrationFailed(
                    f"migration {revision} of the index {path} was rolled back; its result is wrong: {found[0]}. "
                    "Run `convstore index rebuild`, which builds the index again from the files"
                )
            on_step(revision)

        try:
            work(_configure(connection, on_step=checked), target)
        except CommandError as error:
            raise _no_target(target, error) from error


def _configure(connection: Connection, **attributes: object) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _scripts().dir.replace("%", "%%"))
    config.attributes.update(connection=connection, package=__package__.partition(".")[0], **attributes)
    return config


def _require_shape(path: Path, database: sqlite3.Connection) -> None:
    """Check that an index has all parts of its revision. Before 0.2.0, migrations were changed after they were used.

    Raises:
        IndexDamaged: a part is missing.
    """
    from alembic import command

    revision = read_revision(path)
    if revision is None:
        return
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    try:
        with engine.connect() as connection:
            command.upgrade(_configure(connection), revision)
            expected = as_shape(_driver(connection).execute(SHAPE_SQL.text).fetchall())
    finally:
        engine.dispose()
    require_parts(path, revision, expected, database.execute(SHAPE_SQL.text).fetchall())


def drift(path: Path) -> list[str]:
    """Return the differences between the tables and this program's schema, and any damage."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    now = require_known(path)
    if now != HEAD:
        return [f"the schema is at {now or 'nothing'}, this program needs {HEAD}: run `convstore db upgrade`"]
    with _connect(path) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": include_name})
        differences = [str(difference) for difference in compare_metadata(context, metadata)]
        return [*differences, *integrity.find_faults(_driver(connection))]


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def mark_recovering(path: Path) -> None:
    """Mark an empty index as the replacement of a damaged one, until a sync has read all conversations."""
    with _connect(path, writing=True) as connection, connection.begin():
        connection.execute(update(sync_state).values(derived_by=RECOVERING))


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    inside = _PACKAGE / "migrations"
    return ScriptDirectory(str(inside if inside.is_dir() else _PACKAGE.parent / "migrations"))


@contextmanager
def _connect(path: Path, *, writing: bool = False) -> Iterator[Connection]:
    engine = create_engine(sync_url(path))
    event.listen(engine, "connect", on_connect)
    if writing:
        event.listen(engine, "begin", on_begin)
    try:
        with engine.connect() as connection:
            yield connection
    except (DatabaseError, *ERRORS) as error:  # the transaction is rolled back
        raise explain(During.MIGRATION, getattr(error, "orig", error), path) from error
    finally:
        engine.dispose()


def read_revision(path: Path) -> str | None:
    """Return the index's revision, or None if there is no index or it has no schema yet.

    Raises:
        IndexBusy: another program has locked the index.
        IndexUnusable: the file is not a database.
    """
    if not exists(path):
        return None
    try:
        with closing(sqlite3.connect(path)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except ERRORS as error:
        if "no such table" in str(error):
            return None
        raise explain(During.OPENING, error, path) from error
    return row[0] if row else None


def _has_tables(path: Path) -> bool:
    if not exists(path):
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'conversation'").fetchone())
    except ERRORS as error:
        raise explain(During.OPENING, error, path) from error
