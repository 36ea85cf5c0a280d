"""Whether a database holds what it should: SQLite's own check, references, and that no row got lost on the way."""

from __future__ import annotations

from sqlalchemy import Connection, func, inspect, select, table, text

LOST_BY_NOBODY = ("conversation", "conversation_info", "conversation_tag", "event", "message")
"""Tables whose rows no migration may take away."""


def count_rows(connection: Connection) -> dict[str, int]:
    """Return how many rows the tables have that no migration may take rows from, those that there are."""
    there = set(inspect(connection).get_table_names())
    names = [name for name in LOST_BY_NOBODY if name in there]
    return {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in names}


def find_faults(connection: Connection, before: dict[str, int]) -> list[str]:
    """Return what is wrong; `before` is what `count_rows` gave before the change."""
    faults = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check(5)")) if row[0] != "ok"]
    faults += [
        f"a row of {row[0]} belongs to a row of {row[2]} that is not there"
        for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(5)
    ]
    after = count_rows(connection)
    faults += [
        f"{name} had {number:,} rows and has {after[name]:,}"
        for name, number in before.items()
        if name in after and after[name] != number
    ]
    return faults


def derived_by(connection: Connection) -> str | None:
    """Return which version of the fold made the rows."""
    if not inspect(connection).has_table("sync_state"):
        return None
    found = connection.execute(text("SELECT derived_by FROM sync_state")).scalar()
    return None if found is None else str(found)


def distrust(connection: Connection) -> None:
    """Have the next sync read all files again."""
    if inspect(connection).has_table("sync_state"):
        connection.execute(text("UPDATE sync_state SET derived_by = NULL"))
