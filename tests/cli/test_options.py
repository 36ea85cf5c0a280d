"""The options that commands share, and the settings that come from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import make_conversation
from tests.cli.conftest import Command


def test_a_bad_setting_is_named(tmp_path: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "Mars/Olympus")
    ran = convstore("list", "--store", tmp_path)
    assert ran.code == 2
    assert "convstore: CONVSTORE_TIMEZONE: no time zone is called 'Mars/Olympus'" in ran.err


def test_the_index_may_stand_elsewhere(root: Path, tmp_path: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    elsewhere = tmp_path / "other" / "place.db"
    assert convstore("count", "--store", root, "--index", f"sqlite:///{elsewhere}").out == "1\n"
    assert elsewhere.exists()


def test_another_kind_of_database_is_refused(root: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", root, "--index", "mysql://host/db")
    assert ran.code == 2
    assert "write sqlite:///" in ran.err


def test_a_variable_that_is_nearly_a_setting_is_told(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    for name in ("CONVSTORE_PROT", "CONVSTORE_SERVICE_HOST"):
        monkeypatch.setenv(name, "8100")
    ran = convstore("count", "--store", root)
    told = "convstore: CONVSTORE_PROT is not a setting and has no effect; did you mean CONVSTORE_PORT?\n"
    assert (ran.code, ran.out, ran.err) == (0, "1\n", told)
