"""Whether the SDK is installed."""

from __future__ import annotations

import pytest

from app.mcp import extra
from tests.rules.test_structure import loaded


def test_looking_for_the_sdk_does_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra.is_installed()
    assert "mcp" not in loaded("from app.mcp import extra; assert extra.is_installed()")
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    assert not extra.is_installed()
