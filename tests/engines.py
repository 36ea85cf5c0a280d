"""The database of the index in a test: SQLite; in the second half of a test that is marked `both_engines`, PostgreSQL.

With CONVSTORE_TEST_ENGINE=postgres (`make engines`), the stores of all tests have their index in PostgreSQL. Each test
has a database of its own, a copy of one that the migrations made. Tests of something that only SQLite has are skipped
by name, with the reason.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

TESTS = Path(__file__).parent
ENGINE = os.environ.get("CONVSTORE_TEST_ENGINE", "sqlite")
_TEMPLATE = "convstore_template"
_SCHEMA = "convstore"

_FILE = "the index is a file"
_LOCK = "it takes a lock of the index's file"
_TWO = "it opens two directories; in PostgreSQL, each needs a schema of its own"
_COPIED = "it copies the index's file with the conversations"
_IN_PLACE = "in PostgreSQL, a rebuild works in place"
_DAMAGED = "PostgreSQL refuses this damage"
_COUNTED = "it counts the statements that SQLite runs"

_OF_SQLITE: dict[str, str] = {
    "api/across/test_secrets.py": "it looks for secrets in the index's file",
    "api/across/test_subagents_of_conversations.py::test_a_fork_has_none_of_them_and_an_archive_all": _TWO,
    "api/routes/test_changes.py::test_a_stream_ends_with_a_line_in_the_log_when_the_index_fails": _FILE,
    "api/routes/test_index.py::test_the_index_is_brought_in_step_when_asked": _LOCK,
    "api/routes/test_metrics.py::test_metrics_tell_how_the_index_is": _FILE,
    "api/routes/test_metrics.py::test_metrics_answer_when_the_index_does_not": _FILE,
    "api/routes/test_server.py::test_it_is_not_ready_when_the_index": _FILE,
    "api/routes/test_sockets.py::test_an_error_of_the_store_closes_with_1013_and_the_client_may_come_back": _FILE,
    "api/test_middleware.py::test_requests_are_logged_at_debug_and_failures_always": _FILE,
    "conformance/test_known_bugs_lists.py::test_bug_32_every_text_in_the_index_is_bounded": _FILE,
    "conformance/test_known_bugs_lists.py::test_bug_33_a_missing_root_stops_a_sync_and_erases_nothing": _FILE,
    "conformance/test_known_bugs_lists.py::test_bug_33_opening_a_conversation_of_a_lost_disk": _FILE,
    "conformance/test_known_bugs_lists.py::test_bug_34_a_sync_that_died_is_not_shown_as_running": _FILE,
    **{
        f"conformance/test_known_bugs_writing.py::test_bug_35_verify_finds_every_kind_of_lie[{lie}]": _DAMAGED
        for lie in ("missing row", "search hits", "search hits of nothing", "missing text")
    },
    "conformance/test_known_bugs_writing.py::test_bug_36_nothing_that_looks_at_the_database_drops": _LOCK,
    "index/sqlite/": "it tests SQLite's own modules",
    "index/test_query_plans.py": "it looks at SQLite's plans",
    "index/test_conversation_rows.py::test_a_new_conversation_takes_four_statements_and_a_share_of_one": _COUNTED,
    "index/test_conversation_rows.py::test_an_appended_event_takes_nine_statements": _COUNTED,
    "index/test_conversation_rows.py::test_a_remembered_row_is_read_again_only_after_a_change": _COUNTED,
    "properties/test_changes.py::test_a_follower_has_the_list_of_one_that_asks_again": _TWO,
    "store/admin/test_archive_import.py::test_the_whole_corpus_comes_back_by_every_byte": _TWO,
    "store/admin/test_archive_import.py::test_damaged_conversations_come_back_as_they_are": _TWO,
    "store/admin/test_archive_import.py::test_a_zip_of_a_whole_store_brings_back_what_it_has": _TWO,
    "store/admin/test_archive_import.py::test_what_was_imported_is_listed_at_the_same_time": _TWO,
    "store/admin/test_doctor.py::test_it_tells_what_is_wrong_and_touches_nothing[damage_index": _FILE,
    "store/admin/test_doctor.py::test_it_tells_what_is_wrong_and_touches_nothing[lose_index": _FILE,
    "store/admin/test_erase.py::test_deleting_for_good_leaves_the_text_in_the_index": _FILE,
    "store/admin/test_erase.py::test_a_backup_that_still_has_the_text_is_named": _FILE,
    "store/admin/test_erase.py::test_a_fork_is_named": _FILE,
    "store/admin/test_erase.py::test_an_index_that_gets_busy_is_told_and_rebuilding_it_removes_the_rest": _FILE,
    "store/follow/test_background.py::test_it_waits_for_another_sync_and_then_does_its_own": _LOCK,
    "store/follow/test_crash_recovery.py::test_a_dry_run_tells_which_runs_would_be_ended_and_writes_nothing": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_navigation_is_never_undone": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_run_ends_once_however_often_its_end_is_cut_off": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_run_that_was_cut_off_ends_once_with_an_error": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_run_whose_end_could_not_be_written_is_ended_by_the_next_op": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_run_whose_error_is_written_but_not_its_status_is_ended_whe": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_run_without_an_open_action_ends_without_an_event": _COPIED,
    "store/follow/test_crash_recovery.py::test_a_server_recovers_behind_its_first_answers": _COPIED,
    "store/follow/test_full_sync.py::test_a_sync_is_refused_while_another_process_syncs": _LOCK,
    "store/follow/test_full_sync.py::test_a_deleted_index_comes_back_equal": _FILE,
    "store/follow/test_full_sync.py::test_after_many_logs_the_words_are_merged_in_a_phase_of_its_own": "it merges FTS5",
    "store/follow/test_index_repair.py::test_a_count_that_waits_for_a_connection_does_not_count_the_empty_index": _FILE,
    "store/follow/test_index_repair.py::test_a_sync_that_began_before_does_not_declare_the_new_index_whole": _FILE,
    "store/follow/test_index_repair.py::test_an_index_that_is_lost_again_before_it_is_whole_is_put_right_again": _FILE,
    "store/follow/test_index_repair.py::test_the_first_write_goes_to_the_index_that_was_opened_or_to_none": _FILE,
    "store/follow/test_index_repair.py::test_what_was_made_of_the_lost_index_is_not_written_to_the_new_one": _FILE,
    "store/follow/test_rebuild.py::test_a_damaged_index_is_set_aside": _IN_PLACE,
    "store/follow/test_rebuild.py::test_a_mostly_unreadable_result_is_refused": _IN_PLACE,
    "store/follow/test_rebuild.py::test_an_empty_result_is_refused": _IN_PLACE,
    "store/follow/test_rebuild.py::test_each_rebuild_ends_what_was_followed_before_also_one_that_was_resu": _IN_PLACE,
    "store/follow/test_rebuild.py::test_it_makes_an_index_where_there_is_none": _IN_PLACE,
    "store/follow/test_rebuild.py::test_what_a_killed_rebuild_read_is_not_read_again": _IN_PLACE,
    **{
        f"store/follow/test_verify.py::{test}[{damage}]": _DAMAGED
        for test in ("test_it_finds", "test_a_rebuild_mends", "test_fix_mends_what_differs_and_writes_nothing_else")
        for damage in (
            "row gone",
            "body changed",
            "name of a null field changed",
            "text of an event gone",
            "text of a title gone",
            "words of another text",
            "words gone",
            "parts of another title",
            "parts of a title gone",
        )
    },
    "store/follow/test_verify.py::test_it_finds[text of an event changed]": "PostgreSQL's words are not compared",
    "store/read/test_freshness.py::test_a_failing_opening_fails_all_who_wait_and_the_next_begins_afresh": _LOCK,
    "store/read/test_freshness.py::test_a_known_conversation_is_served_as_indexed_while": _LOCK,
    "store/read/test_freshness.py::test_opening_one_conversation_does_not_wait_for_another": _LOCK,
    "store/read/test_freshness.py::test_an_unchanged_conversation_is_found_with_one_statement_and_no_thread": _COUNTED,
    "store/test_context.py::test_a_store_is_ready_while_its_directory_and_its_index_are_there": _FILE,
    "store/test_copies_beside_a_writer.py": _TWO,
    "store/test_linked_stores.py::test_an_index_behind_a_link_is_one_index": _FILE,
    "store/test_presence.py::test_a_server_that_starts_on_an_empty_mount_point_takes_it_for_a_new_store": _TWO,
    "store/write/test_saving_at_close.py::test_who_exports_and_imports_keeps_it_and_so_it_is_pruned_at_its_age": _TWO,
}
"""How the names of tests begin that are of SQLite alone, and why."""

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def new_database(postgres_url: str) -> Iterator[NewDatabase]:
    """A function that makes a database with an index as the migrations leave it, yields its URL, and drops it."""
    import psycopg  # noqa: PLC0415 - need not be installed
    from psycopg import sql  # noqa: PLC0415

    from app.index.postgres import migrations  # noqa: PLC0415
    from app.index.postgres.server import Server  # noqa: PLC0415

    @contextmanager
    def database(name: str, template: str) -> Iterator[str]:
        named, source = sql.Identifier(name), sql.Identifier(template)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(named, source))
        try:
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(named))

    template = f"{_TEMPLATE}_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin, database(template, "template1") as url:
        migrations.upgrade(Server(url, _SCHEMA), wait_s=60)
        yield lambda: database(f"test_{secrets.token_hex(8)}", template)


@pytest.fixture(scope="module", autouse=True)
def _database_of_module(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The database of the stores that all tests of a module share."""
    if ENGINE == "sqlite":
        yield None
        return
    new: NewDatabase = request.getfixturevalue("new_database")
    with new() as url, pytest.MonkeyPatch.context() as patch:
        _use(patch, url, _SCHEMA)
        yield url


@pytest.fixture(autouse=True)
def engine(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    _no_settings_from_outside: None,
    _database_of_module: str | None,
) -> Iterator[str]:
    """The database of the index: "sqlite" or "postgres"."""
    name: str = getattr(request, "param", ENGINE)
    if name == "sqlite":
        yield name
    elif _database_of_module is None:
        _use(monkeypatch, request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
        yield name
    elif _shares_fixtures(request):
        _use(monkeypatch, _database_of_module, _SCHEMA)
        yield name
    else:
        new: NewDatabase = request.getfixturevalue("new_database")
        with new() as url:
            _use(monkeypatch, url, _SCHEMA)
            yield name


def _use(patch: pytest.MonkeyPatch, url: str, schema: str) -> None:
    patch.setenv("CONVSTORE_INDEX_URL", url)
    patch.setenv("CONVSTORE_INDEX_SCHEMA", schema)


def _shares_fixtures(request: pytest.FixtureRequest) -> bool:
    """Whether a test has a fixture of its module, which may be an open store."""
    known = [one[-1] for one in request.node._fixtureinfo.name2fixturedefs.values()]
    shared = [one.func.__module__ for one in known if one.scope == "module"]
    return any(name.startswith("tests.") and name != __name__ for name in shared)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_engines: also run with an index in PostgreSQL; that half is long")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("both_engines") is not None and ENGINE == "sqlite":
        engines = ["sqlite", pytest.param("postgres", marks=[pytest.mark.long, pytest.mark.postgres])]
        metafunc.parametrize("engine", engines, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if ENGINE == "sqlite":
        return
    for item in items:
        name = str(item.path.relative_to(TESTS)) + item.nodeid[item.nodeid.index("::") :]
        why = next((why for beginning, why in _OF_SQLITE.items() if name.startswith(beginning)), "")
        if not why and "database" in getattr(item, "fixturenames", ()):
            why = "it looks at SQLite's plans"
        if why:
            item.add_marker(pytest.mark.skip(reason=f"only with SQLite: {why}"))
