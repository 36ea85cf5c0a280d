"""Classifies the errors of PostgreSQL: another program is in the way, the server is away, or the index is unusable."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from ...errors import IndexBusy, IndexUnusable, MigrationFailed, QueryTooSlow, StoreError

ERRORS = (psycopg.Error, UnicodeEncodeError)
"""The driver's exceptions. UnicodeEncodeError occurs for a text that is not Unicode."""

_BUSY = (errors.LockNotAvailable, errors.SerializationFailure, errors.DeadlockDetected)
_TOO_SLOW = "the search takes too long; search for more words or rarer ones, or add filters"
_MISSING = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


_REFUSALS = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.InsufficientPrivilege,
)
_REFUSED = re.compile(
    "FATAL: .*(password authentication failed|authentication failed for user|no pg_hba.conf entry"
    "|role .* does not exist|database .* does not exist|no such (user|database)|permission denied"
    "|is not permitted to log in)"
)
"""What libpq says when a server refuses a connection; it tells no SQLSTATE. A server that says it in another language
than English only counts as away."""


def _is_refused(error: BaseException) -> bool:
    """Whether a server refuses the user, the password, the database or a right, so that waiting for it is of no use."""
    if isinstance(error, _REFUSALS):
        return True
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate is not None:
        return False
    lacks_password = error.pgconn is not None and error.pgconn.needs_password
    return lacks_password or _REFUSED.search(str(error)) is not None


def explain(error: BaseException, name: str) -> StoreError:
    """Return the error for users that explains an error of PostgreSQL. `name` is the place of the index."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, _BUSY):
        return IndexBusy("another program has been holding the index for too long; try again")
    if isinstance(error, errors.QueryCanceled):
        return QueryTooSlow(_TOO_SLOW)
    if isinstance(error, _MISSING):
        return IndexUnusable(f"the index {name} lacks a table ({said}); run `convstore db upgrade`")
    if _is_refused(error):
        return IndexUnusable(
            f"the PostgreSQL server of the index {name} refuses convstore ({said}); correct CONVSTORE_INDEX_URL, or the"
            " database and the rights of its user",
            away=True,
            refused=True,
        )
    if isinstance(error, psycopg.OperationalError):
        return IndexUnusable(
            f"the PostgreSQL server of the index {name} does not answer ({said}); "
            "convstore uses it again when it is back",
            away=True,
        )
    return IndexUnusable(f"the index {name} cannot be used ({said}); `convstore index rebuild` builds it again")


def explain_migration(error: BaseException, name: str) -> StoreError:
    """Return the error for users of a migration that failed. The index is as it was."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if _is_refused(error) or (isinstance(error, psycopg.OperationalError) and not isinstance(error, _BUSY)):
        return explain(error, name)
    return MigrationFailed(f"the index {name} could not be changed ({said}) and is as before; correct the cause")
