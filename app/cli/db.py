"""`convstore db upgrade | downgrade | current | history | check | backup`: the schema and copies of the index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidSettings
from ..index.opening import examine_schema, upgrade_schema
from ..index.sqlite import migrations
from ..index.sqlite.backup import Backup, back_up
from ..index.sqlite.index_file import make_directory
from ..index.sqlite.migrations import HEAD, OnStep, Plan, Revision, read_revision
from ..settings import Settings
from ..store.existence import require_directory
from ..store.follow.full_sync import SyncReport
from ..store.follow.rebuild import rebuild as rebuild_index
from .context import CommandContext, ContextOptions
from .options import DryRunOption
from .output import LateBar, counted, out, print_json, print_table
from .registration import add_command, make_group

app = make_group(
    "Show and migrate the schema of the index, and copy the index. A server upgrades its index by itself; "
    "use these commands to inspect, to downgrade, or to upgrade in advance."
)

BackupOption = Annotated[bool, typer.Option("--backup", help="First make a checked copy beside the index.")]

_FOUND = 1


@add_command(app, "upgrade")
def upgrade_command(
    *,
    revision: Annotated[str, typer.Argument(help="The revision to migrate to.")] = "head",
    dry_run: DryRunOption = False,
    backup: BackupOption = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Then rebuild the index from the files, with `index rebuild`.")
    ] = False,
    context: ContextOptions,
) -> None:
    """Migrate the index up, or create it. No other program may have it open meanwhile.

    Example: convstore db upgrade --backup --store workspace/conversations
    """
    if rebuild and revision not in ("head", HEAD):
        raise typer.BadParameter(f"--rebuild makes an index of the newest schema, {HEAD}; omit REVISION")
    settings = _require_store(context)
    if settings.index_server is not None:
        _upgrade_server(settings, revision, backup=backup, dry_run=dry_run, rebuild=rebuild, json=context.json)
        return

    def work(on_step: OnStep) -> None:
        migrations.upgrade(settings.index_path, revision, wait_s=settings.busy_timeout_s, on_step=on_step)

    make_directory(settings.index_path)
    plan = migrations.plan(settings.index_path, revision)
    _migrate(settings, plan, work, dry_run=dry_run, backup=backup, rebuild=rebuild, json=context.json)


@add_command(app, "downgrade")
def downgrade_command(
    *,
    revision: Annotated[str, typer.Argument(help='The revision to migrate down to; "base" empties the index.')],
    dry_run: DryRunOption = False,
    backup: BackupOption = False,
    context: ContextOptions,
) -> None:
    """Migrate the index down. After the next upgrade, lost data is restored from the files.

    Example: convstore db downgrade base --store workspace/conversations
    """
    settings = _require_store(context)
    _require_file(settings, "drop the schema instead; the next start creates it, and builds the index from the files")

    def work(on_step: OnStep) -> None:
        migrations.downgrade(settings.index_path, revision, wait_s=settings.busy_timeout_s, on_step=on_step)

    plan = migrations.plan(settings.index_path, revision, down=True)
    _migrate(settings, plan, work, dry_run=dry_run, backup=backup, json=context.json)


def _require_store(context: CommandContext) -> Settings:
    """Return the settings, after checking that the store exists, so that a mistyped directory gets no index."""
    require_directory(context.settings)
    return context.settings


def _require_file(settings: Settings, instead: str) -> None:
    """Check that the index is a file, for a command that has no counterpart in PostgreSQL."""
    if settings.index_server is not None:
        raise InvalidSettings(f"this command is for an index in SQLite, and this one is in PostgreSQL: {instead}")


def _upgrade_server(
    settings: Settings, revision: str, *, backup: bool, dry_run: bool, rebuild: bool, json: bool
) -> None:
    if backup or revision not in ("head", HEAD):
        _require_file(settings, "omit REVISION, and use pg_dump for a backup")
    before = examine_schema(settings)
    if not dry_run:
        upgrade_schema(settings)
    rebuilt = _rebuild(settings) if rebuild and not dry_run else None
    after = examine_schema(settings).revision
    if json:
        print_json({"before": before.revision, "after": after, "rebuilt": rebuilt and rebuilt.conversations})
    else:
        out.print(f"{before.revision or 'nothing'} -> {after or 'nothing'}")


def _migrate(
    settings: Settings,
    plan: Plan,
    work: Callable[[OnStep], None],
    *,
    dry_run: bool,
    backup: bool,
    json: bool,
    rebuild: bool = False,
) -> None:
    if not json:
        _print_plan(plan)
    made: Backup | None = None
    if plan.steps and not dry_run:
        if backup and plan.before:
            made = back_up(settings.index_path, _name_backup(settings.index_path))
        with LateBar() as bar:
            done: list[str] = []

            def on_step(revision: str) -> None:
                done.append(revision)
                bar.show("migrations", len(done), len(plan.steps))

            bar.show("migrations", 0, len(plan.steps))
            work(on_step)
    rebuilt = _rebuild(settings) if rebuild and not dry_run else None
    after = read_revision(settings.index_path)
    if json:
        print_json(
            {
                "before": plan.before,
                "after": after,
                "steps": [step.id for step in plan.steps],
                "size_bytes": plan.size_bytes,
                "rows": plan.rows,
                "reads_again": plan.reads_again,
                "backup": str(made.path) if made else None,
                "rebuilt": rebuilt.conversations if rebuilt else None,
                "dry_run": dry_run,
            }
        )
        return
    if made:
        out.print(f"the index as it was: {made.path}")
    if not dry_run:
        out.print(f"{plan.before or 'nothing'} -> {after or 'nothing'}")
    if rebuilt:
        out.print(f"built anew from {counted(rebuilt.conversations, 'conversation')} in {rebuilt.seconds:.2f} s")


def _rebuild(settings: Settings) -> SyncReport:
    with LateBar() as bar:
        return asyncio.run(rebuild_index(settings, bar.show))


def _print_plan(plan: Plan) -> None:
    if not plan.steps:
        out.print("there is nothing to migrate")
        return
    rows = ", ".join(f"{number:,} {name}" for name, number in plan.rows.items() if name in ("conversation", "event"))
    if plan.before:
        out.print(f"the index has {plan.size_bytes:,} bytes ({rows} rows); {plan.free_bytes:,} bytes are free")
    for step in plan.steps:
        out.print(f"  {step.id}  {step.summary}")
    if plan.reads_again and any(plan.rows.values()):
        out.print("the first sync with this program's schema will read all conversations again" + _or_rebuild(plan))
    if plan.free_bytes < plan.size_bytes:
        out.print("a step may need as many free bytes as the index has", style="yellow")


def _or_rebuild(plan: Plan) -> str:
    up = plan.after is not None and (plan.before or "") < plan.after
    return "; --rebuild does that now, and the index stays in use meanwhile" if up else ""


def _name_backup(index: Path) -> Path:
    return index.with_name(f"{index.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.backup")


@add_command(app, "current")
def current_command(context: ContextOptions) -> None:
    """Show the revision of the index.

    Example: convstore db current --store workspace/conversations
    """
    settings = _require_store(context)
    in_server = None if settings.index_server is None else examine_schema(settings)
    revision = read_revision(settings.index_path) if in_server is None else in_server.revision
    if context.json:
        print_json({"current": revision, "head": HEAD})
    else:
        out.print(f"{revision or 'no index'} (this program needs {HEAD})")


@add_command(app, "history")
def history_command(context: ContextOptions) -> None:
    """Show all revisions, newest first.

    Example: convstore db history --store workspace/conversations
    """
    settings = _require_store(context)
    if settings.index_server is None:
        revisions = migrations.history(settings.index_path)
    else:
        schema = examine_schema(settings)
        revisions = [Revision(one, summary, one == schema.revision) for one, summary in schema.history]
    if context.json:
        print_json([revision._asdict() for revision in revisions])
    else:
        rows = ((one.id, "current" if one.current else "", one.summary) for one in revisions)
        print_table(("REVISION", "", "WHAT"), rows)


@add_command(app, "check")
def check_command(context: ContextOptions) -> None:
    """Compare the index's tables with this program's schema, and look for damage. Exit code 1 if there is a difference.

    Example: convstore db check --store workspace/conversations
    """
    settings = _require_store(context)
    in_server = settings.index_server is not None
    differences = examine_schema(settings).faults if in_server else migrations.drift(settings.index_path)
    if context.json:
        print_json(differences)
    else:
        for line in differences or ["the schema is correct"]:
            out.print(line)
    if differences:
        raise typer.Exit(_FOUND)


@add_command(app, "backup")
def backup_command(
    *,
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; it must not exist.", show_default="beside the index")
    ] = None,
    context: ContextOptions,
) -> None:
    """Copy the index while it is in use, and check the copy.

    Example: convstore db backup /backups/index.db --store workspace/conversations
    """
    settings = _require_store(context)
    _require_file(settings, "use pg_dump or the backups of your provider; the index can also be built from the files")
    made = back_up(settings.index_path, file or _name_backup(settings.index_path))
    if context.json:
        print_json(made._asdict() | {"path": str(made.path)})
    else:
        held = counted(made.conversations, "conversation")
        out.print(f"{held}, {made.size_bytes:,} bytes, schema {made.revision}: {made.path}")
