"""Tests have a second half with PostgreSQL, but for those that are named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.engines import ONLY_SQLITE, TESTS
from tests.postgres import find_lack

_TRASH = "tests/api/routes/test_trash.py::test_deleting_and_restoring"
_LONG = "tests/store/follow/test_verify.py::test_a_server_that_is_told_to_verifies_slowly_all_the_time"
_NAMED = "tests/store/test_context.py::test_a_store_is_ready_while_its_directory_and_its_index_are_there"
_PURE = "tests/api/test_params.py::test_no_get_reaches_a_writer"


@pytest.mark.parametrize("name", ONLY_SQLITE)
def test_what_is_named_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    assert (TESTS / path).exists()
    assert not function or f"def {function.partition('[')[0]}" in (TESTS / path).read_text()


@pytest.mark.long
@pytest.mark.skipif(bool(find_lack()), reason=find_lack())
@pytest.mark.parametrize(
    ("engine", "collected"),
    [
        ("", [_TRASH, f"{_TRASH}[postgres]", _LONG, _NAMED, _PURE]),
        ("postgres", [f"{_TRASH}[postgres]", f"{_LONG}[postgres]"]),
    ],
)
def test_a_check_leaves_the_second_half_of_long_tests_to_a_run_of_its_own(engine: str, collected: list[str]) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            _TRASH,
            _LONG,
            _NAMED,
            _PURE,
        ],
        cwd=TESTS.parent,
        env=os.environ | {"CONVSTORE_TEST_ENGINE": engine},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert [line for line in ran.stdout.splitlines() if "::" in line] == collected
