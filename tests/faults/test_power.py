"""A part of `make faults`: some power cuts under writers, on each file system that can be mounted here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.power import KINDS, disk_of, run

pytestmark = pytest.mark.long

CUTS = 2


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file system that can be mounted here."""
    try:
        with disk_of(request.param, tmp_path_factory.mktemp("disk")):
            return str(request.param)
    except OSError as error:
        pytest.skip(f"NOT TRIED: {error}")


def test_no_acknowledged_write_is_lost_when_the_power_is_cut(tmp_path: Path, kind: str) -> None:
    counted, wrong = run(tmp_path, kind, CUTS)
    assert wrong == []
    assert counted["cuts"] == CUTS


def test_a_cut_takes_what_was_not_fsynced(tmp_path: Path, kind: str) -> None:
    with disk_of(kind, tmp_path) as disk:
        (disk.path / "kept").write_text("kept")
        disk.flush()
        (disk.path / "lost").write_text("lost")
        disk.cut()
        disk.unmount()
        disk.mount()
        assert {path.name for path in disk.path.iterdir()} - {"lost+found"} == {"kept"}
