"""Whether the SDK is installed, and the quick way to import it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import BaseModel

from app.mcp import extra
from tests.rules.test_structure import loaded


def test_looking_for_the_sdk_does_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra.is_installed()
    assert "mcp" not in loaded("from app.mcp import extra; assert extra.is_installed()")
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    assert not extra.is_installed()


_COUNT_BUILT = """
from pydantic import BaseModel
from app.mcp.extra import importing_quickly
with importing_quickly():
    import app.mcp.server

def walk(model):
    for one in model.__subclasses__():
        yield one
        yield from walk(one)

models = set(walk(BaseModel))
print(len(models), sum(one.__pydantic_complete__ for one in models))
"""


def test_a_quick_import_builds_few_models_of_the_sdk() -> None:
    told = subprocess.run([sys.executable, "-c", _COUNT_BUILT], check=True, capture_output=True, text=True).stdout
    models, built = map(int, told.split())
    assert models > 500
    assert built < models / 2


def test_a_quick_import_leaves_pydantic_and_the_environment_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_PROPAGATORS", raising=False)
    with extra.importing_quickly():
        assert os.environ["OTEL_PROPAGATORS"] == "none"
    assert "OTEL_PROPAGATORS" not in os.environ
    assert BaseModel.model_config == {}

    monkeypatch.setenv("OTEL_PROPAGATORS", "b3")
    with extra.importing_quickly():
        assert os.environ["OTEL_PROPAGATORS"] == "b3"
    assert os.environ["OTEL_PROPAGATORS"] == "b3"
