"""Errors: each has a code of its own, which callers may rely on."""

from __future__ import annotations

import inspect

from app import errors
from app.errors import StoreError


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, StoreError)]
    codes = {one.code for one in classes if "code" in vars(one)}
    assert len(codes) == len(classes) > 10
