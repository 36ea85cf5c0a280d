"""Errors: each has a code of its own, which callers may rely on."""

from __future__ import annotations

import errno
import inspect

import pytest

from app import errors
from app.errors import OutOfMemory, StoreError, is_out_of_memory

NO_THREAD = RuntimeError("can't start new thread")


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, StoreError)]
    codes = {one.code for one in classes if "code" in vars(one)}
    assert len(codes) == len(classes) > 10


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (NO_THREAD, True),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ExceptionGroup("of tasks", [NO_THREAD, ExceptionGroup("of others", [MemoryError()])]), True),
        (ExceptionGroup("of tasks", [NO_THREAD, ValueError("a fault")]), False),
        (RuntimeError("a fault"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("can't start new thread"), False),
    ],
)
def test_a_lack_of_memory_or_threads_is_told_from_faults(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("error", "told"),
    [(MemoryError(), "MemoryError"), (ExceptionGroup("of tasks", [NO_THREAD]), "can't start new thread")],
)
def test_a_lack_of_memory_says_what_was_refused_and_what_to_raise(error: Exception, told: str) -> None:
    assert str(OutOfMemory(error)).startswith(f"there is too little memory ({told}); raise the limit (`ulimit -v`")
