"""`convstore service`: the unit, what it replaces, and what is said where systemd does not run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.cli import service
from app.errors import InvalidSettings
from app.settings import Settings
from tests.cli.conftest import Command

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$0.asked"
case "$*" in
  *is-active*) echo active;;
  *is-enabled*) echo enabled;;
  *"enable --now broken.service") echo 'Failed to connect to bus' >&2; exit 1;;
esac
"""


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of this user's units."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(service, "_SYSTEM_UNITS", tmp_path / "system")
    return tmp_path / "config/systemd/user"


@pytest.fixture
def asked(tmp_path: Path, units: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the orders that systemd got; this systemd only writes them down."""
    assert not units.exists()
    programs, running = tmp_path / "programs", tmp_path / "running"
    for directory in (programs, running):
        directory.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(service, "_RUNNING", running)
    return programs / "systemctl.asked"


@pytest.fixture
def without_systemd(units: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(service, "_RUNNING", units / "nowhere")
    return units


def test_the_unit_is_written_started_shown_and_removed(
    asked: Path, units: Path, root: Path, convstore: Command
) -> None:
    installed = convstore("service", "install", root, "--port", "8100")
    unit = units / "convstore.service"
    text = unit.read_text()
    shown = convstore("service", "status", "--json").json
    removed = convstore("service", "remove")
    assert (installed.code, removed.code) == (0, 0)
    assert f"Environment=CONVSTORE_STORE={root}\n" in text
    assert "Environment=CONVSTORE_PORT=8100\n" in text
    assert shown == {"unit": str(unit), "exists": True, "own": True, "active": "active", "enabled": "enabled"}
    assert not unit.exists()
    assert asked.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now convstore.service",
        "--user is-active convstore.service",
        "--user is-enabled convstore.service",
        "--user disable --now convstore.service",
        "--user daemon-reload",
    ]


def test_a_service_of_the_system_runs_as_the_owner_of_the_store(
    asked: Path, tmp_path: Path, root: Path, convstore: Command
) -> None:
    convstore("service", "install", root, "--system", "--name", "other")
    text = (tmp_path / "system/other.service").read_text()
    assert f"User={root.owner()}\n" in text
    assert f"ReadWritePaths={root}\n" in text
    assert "Environment=CONVSTORE_ENV_FILE=-%E/other.env\n" in text
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in text
    assert asked.read_text().splitlines() == ["daemon-reload", "enable --now other.service"]


def test_a_unit_that_something_else_wrote_stays(asked: Path, units: Path, root: Path, convstore: Command) -> None:
    units.mkdir(parents=True)
    unit = units / "convstore.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    for command in (("install", root), ("remove",)):
        refused = convstore("service", *command)
        assert (refused.code, "did not write the unit" in refused.err) == (2, True)
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert not asked.exists()
    assert convstore("service", "install", root, "--force").code == 0
    assert convstore("service", "install", root, "--port", "8101").code == 0
    assert "8101" in unit.read_text()


def test_without_systemd_the_unit_is_printed(without_systemd: Path, root: Path, convstore: Command) -> None:
    ran = convstore("service", "install", root)
    assert (ran.code, ran.out) == (0, service.make_unit(Settings(store=root), "convstore", system=False))
    assert "systemd does not run here" in ran.err
    assert str(without_systemd / "convstore.service") in ran.err
    assert not without_systemd.exists()
    assert "systemd does not run here" in convstore("service", "status").out
    assert convstore("service", "remove").code == 2


def test_a_failure_of_systemd_is_told_in_a_line(asked: Path, root: Path, convstore: Command) -> None:
    ran = convstore("service", "install", root, "--name", "broken")
    assert (ran.code, ran.err.count("\n"), "Failed to connect to bus" in ran.err) == (2, 1, True)
    assert asked.exists()


@pytest.mark.parametrize("name", ["../evil", "", "a b", "-x"])
def test_a_name_that_is_no_name_of_a_unit_is_refused(name: str, units: Path, root: Path, convstore: Command) -> None:
    assert convstore("service", "install", root, f"--name={name}").code == 2
    assert not units.exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("home", [False, True])
def test_the_unit_of_the_system_is_confined(home: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_HOMES", (str(tmp_path),) if home else ())
    unit = tmp_path / "convstore.service"
    unit.write_text(
        service.make_unit(Settings(store=tmp_path), "convstore", system=True).replace("User=root", "User=a")
    )
    assert ("ProtectHome" in unit.read_text()) != home
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_settings_file_that_the_service_cannot_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.env"
    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, 1234, 1234)
    service._require_readable(file, store)
    file.touch(0o600)
    with pytest.raises(InvalidSettings, match=f"{file} must be readable for 1234"):
        service._require_readable(file, store)
    for uid, gid, mode in ((1234, 0, 0o600), (0, 1234, 0o640), (0, 0, 0o644)):
        os.chown(file, uid, gid)
        file.chmod(mode)
        service._require_readable(file, store)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("directory", ["plain", 'a %n "quoted" \\ $HOME dir; é\\'])
def test_systemd_finds_nothing_wrong_with_the_unit(directory: str, system: bool, tmp_path: Path) -> None:
    store = tmp_path / directory
    store.mkdir()
    unit = tmp_path / "convstore.service"
    unit.write_text(service.make_unit(Settings(store=store), "convstore", system=system))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
