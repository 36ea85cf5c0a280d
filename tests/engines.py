"""The database of the index in a test: SQLite; in the second half of a test of `SUITES`, PostgreSQL.

A test without a directory has no second half, nor have those that are named here, with the reason. `make test` leaves
the second halves to `make check`, which leaves those of long tests to `make engines`. That sets
CONVSTORE_TEST_ENGINE=postgres: no test runs with SQLite then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.postgres import find_lack

TESTS = Path(__file__).parent
SUITES = ("api", "conformance", "index", "properties", "store")
_ALONE = os.environ.get("CONVSTORE_TEST_ENGINE") == "postgres"
_DIRECTORY = {"tmp_path", "tmp_path_factory"}
_OWN_INDEX = {"database", "live"}
"""Fixtures that have an index in SQLite."""
_SCHEMA = "convstore"

_NO_INDEX = "it asks nothing of the index"
_FILE = "the index is a file"
_LOCK = "it takes a lock of the index's file"
_TWO = "it opens two directories; in PostgreSQL, each needs a schema of its own"
_COPIED = "it copies the index's file with the conversations"
_IN_PLACE = "in PostgreSQL, a rebuild works in place"
_DAMAGED = "PostgreSQL refuses this damage"
_COUNTED = "it counts the statements that SQLite runs"

ONLY_SQLITE: dict[str, str] = {
    "api/access/": _NO_INDEX,
    "api/across/test_base_path.py": _NO_INDEX,
    "api/across/test_large_events.py": _NO_INDEX,
    "api/across/test_leaving_clients.py": _NO_INDEX,
    "api/across/test_secrets.py": "it looks for secrets in the index's file",
    "api/across/test_subagents_of_conversations.py::test_a_fork_has_none_of_them_and_an_archive_all": _TWO,
    "api/routes/test_changes.py::test_a_stream_ends_with_a_line_in_the_log_when_the_index_fails": _FILE,
    "api/routes/test_index.py::test_the_index_is_brought_in_step_when_asked": _LOCK,
    "api/routes/test_metrics.py::test_metrics_tell_how_the_index_is": _FILE,
    "api/routes/test_metrics.py::test_metrics_answer_when_the_index_does_not": _FILE,
    "api/routes/test_server.py::test_it_is_not_ready_when_the_index": _FILE,
    "api/routes/test_sockets.py::test_an_error_of_the_store_closes_with_1013_and_the_client_may_come_back": _FILE,
    "api/test_auth.py": _NO_INDEX,
    "api/test_headers.py": _NO_INDEX,
    "api/test_middleware.py": _NO_INDEX,
    "api/test_sessions.py": _NO_INDEX,
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
    "index/test_filter_sql.py::test_the_condition_that_fewest_pass_is_started_from": "PostgreSQL plans by the values",
    "index/test_conversation_rows.py::test_a_new_conversation_takes_four_statements_and_a_share_of_one": _COUNTED,
    "index/test_conversation_rows.py::test_an_appended_event_takes_nine_statements": _COUNTED,
    "index/test_conversation_rows.py::test_a_remembered_row_is_read_again_only_after_a_change": _COUNTED,
    "properties/test_changes.py::test_a_follower_has_the_list_of_one_that_asks_again": _TWO,
    "properties/test_machine.py::test_a_store_shows_what_it_must": _TWO,
    "properties/test_machine.py::test_two_stores_on_one_directory_show_what_they_must": _TWO,
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
    "store/follow/test_change_hints.py": _NO_INDEX,
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
    "store/read/test_large_events.py": _NO_INDEX,
    "store/test_context.py::test_a_store_is_ready_while_its_directory_and_its_index_are_there": _FILE,
    "store/test_copies_beside_a_writer.py": _TWO,
    "store/test_existence.py": _NO_INDEX,
    "store/test_linked_stores.py::test_an_index_behind_a_link_is_one_index": _FILE,
    "store/test_presence.py::test_a_server_that_starts_on_an_empty_mount_point_takes_it_for_a_new_store": _TWO,
    "store/write/test_owner.py": _NO_INDEX,
    "store/write/test_saving_at_close.py::test_who_exports_and_imports_keeps_it_and_so_it_is_pruned_at_its_age": _TWO,
}
"""How the names of tests begin that have no second half, and why."""

Lend = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def lend_database(postgres_url: str) -> Iterator[Lend]:
    """A function that yields the URL of a database with an empty index, which nobody else uses meanwhile."""
    from tests.databases import Databases  # noqa: PLC0415 - psycopg need not be installed

    with closing(Databases(postgres_url)) as databases:
        yield databases.lend


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """The database of the index: "sqlite" or "postgres"."""
    return getattr(request, "param", "sqlite")


@pytest.fixture(scope="module")
def _shared_index(request: pytest.FixtureRequest, engine: str) -> Iterator[str]:
    """The index of a store that the tests of a module share: its URL in PostgreSQL, or ""."""
    with _one(request, engine) as url, pytest.MonkeyPatch.context() as patch:
        _use(patch, url)
        yield url


@pytest.fixture(autouse=True)
def _index(
    request: pytest.FixtureRequest, engine: str, monkeypatch: pytest.MonkeyPatch, _no_settings_from_outside: None
) -> Iterator[None]:
    """The index of the stores of a test."""
    if "_shared_index" in request.fixturenames:
        _use(monkeypatch, request.getfixturevalue("_shared_index"))
        yield
    else:
        with _one(request, engine) as url:
            _use(monkeypatch, url)
            yield


@contextmanager
def _one(request: pytest.FixtureRequest, engine: str) -> Iterator[str]:
    if engine == "sqlite":
        yield ""
        return
    lend: Lend = request.getfixturevalue("lend_database")
    with lend() as url:
        yield url


def _use(patch: pytest.MonkeyPatch, url: str) -> None:
    if url:
        patch.setenv("CONVSTORE_INDEX_URL", url)
        patch.setenv("CONVSTORE_INDEX_SCHEMA", _SCHEMA)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test its second half."""
    fixtures = {*metafunc.fixturenames}
    if (
        _suite_of(metafunc.definition) in SUITES
        and fixtures & _DIRECTORY
        and not fixtures & _OWN_INDEX
        and metafunc.definition.get_closest_marker("postgres") is None
        and not find_lack()
    ):
        engines = [pytest.param("sqlite", id=pytest.HIDDEN_PARAM), pytest.param("postgres", marks=pytest.mark.postgres)]
        metafunc.parametrize("engine", engines, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take out the halves that are not to be run."""
    items[:] = [item for item in items if _is_wanted(item)]


def _is_wanted(item: pytest.Item) -> bool:
    if item.get_closest_marker("postgres") is None:
        return not _ALONE
    callspec = getattr(item, "callspec", None)
    if callspec is None or "engine" not in callspec.params:
        return True
    name = str(item.path.relative_to(TESTS)) + item.nodeid[item.nodeid.index("::") :].replace("-postgres]", "]")
    is_left = item.get_closest_marker("long") is not None and not _ALONE
    if is_left or any(map(name.startswith, ONLY_SQLITE)) or "agent-server" in callspec.params.values():
        return False
    item.add_marker("long")
    return True


def _suite_of(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]
