"""The settings that commands share, and the sync before a command answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from app.cli.context import CommandContext, ContextOptions, add_command
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
    ran = convstore("count", "--store", root, "--index", "postgresql://host/db")
    assert ran.code == 2
    assert "write sqlite:///" in ran.err


def test_a_variable_that_is_nearly_a_setting_is_told(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    for name in ("CONVSTORE_PROT", "CONVSTORE_SERVICE_HOST"):
        monkeypatch.setenv(name, "8100")
    ran = convstore("count", "--store", root)
    told = "convstore: CONVSTORE_PROT is no setting and changes nothing; did you mean CONVSTORE_PORT?\n"
    assert (ran.code, ran.out, ran.err) == (0, "1\n", told)


def test_a_directory_that_is_no_store_is_told(tmp_path: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "0\n", f"convstore: no conversation directories in {tmp_path}\n")
    make_conversation(tmp_path)
    assert convstore("count", "--store", tmp_path).err == ""


def test_a_store_behind_a_link_is_named_as_it_was_given_and_as_it_is(tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "link"
    link.symlink_to("store")
    told = f"convstore: no conversation directories in {link} (that is {tmp_path / 'store'})\n"
    assert convstore("count", "--store", link).err == told
    link.unlink()
    link.symlink_to("nothing")
    ran = convstore("count", "--store", link)
    assert (ran.code, f"{link} (that is {tmp_path / 'nothing'}) is no directory" in ran.err) == (2, True)


def test_list_notices_what_other_programs_did_unless_told_not_to(root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    assert convstore("count", "--store", root).out == "1\n"
    make_conversation(root, 2)
    assert convstore("count", "--store", root, "--no-sync").out == "1\n"
    assert convstore("count", "--store", root).out == "2\n"


def test_a_group_of_options_stands_in_place_of_its_parameter() -> None:
    made: list[tuple[CommandContext, bool]] = []

    def command(context: ContextOptions, *, own: bool = False) -> None:
        made.append((context, own))

    app = typer.Typer()
    add_command(app, "one", "A summary.")(command)
    built = typer.main.get_command(app)
    built(["--json", "--own", "--store", "x"], standalone_mode=False)
    names = [parameter.name for parameter in built.params if "completion" not in str(parameter.name)]
    assert names == ["store", "own", "index", "json"]
    assert made == [(CommandContext(Path("x"), None, json=True), True)]
