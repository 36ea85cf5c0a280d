"""Which file system a path is on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from app.filesystem import find_file_system, find_mount, is_network_device, require_temporary_directory

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 master:7 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/dev/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/two\\040words rw - fuse.sshfs dev@host:/ rw
33 22 0:42 / /mnt/hidden rw - ext4 /dev/sdc1 rw
34 33 0:43 / /mnt/hidden rw - cifs //host/share rw
no mount
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/conversations", "ext4"),
        ("/home/dev", "nfs4"),
        ("/homework", "ext4"),
        ("/home/dev/local/store", "xfs"),
        ("/mnt/two words/store", "fuse.sshfs"),
        ("/mnt/hidden", "cifs"),
    ],
)
def test_the_innermost_mount_counts(path: str, kind: str) -> None:
    assert find_mount(MOUNTS, Path(path)).type == kind


def test_without_any_mounts_it_is_unknown() -> None:
    assert find_mount("", Path("/srv")).type == "unknown"


def test_a_mount_has_its_options() -> None:
    assert find_mount(MOUNTS, Path("/home/dev")).options == {"rw": "", "vers": "4.2"}


def test_the_device_of_a_file_tells_whether_it_is_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr("app.filesystem._MOUNTS", mounts)
    is_network_device.cache_clear()
    assert [is_network_device(os.makedev(0, number)) for number in (40, 41, 42, 43, 99)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    is_network_device.cache_clear()


def test_of_a_path_that_is_not_there_yet_the_directory_above_counts(tmp_path: Path) -> None:
    found, there = find_file_system(tmp_path / "not" / "yet"), os.statvfs(tmp_path)
    assert found.size_bytes == there.f_blocks * there.f_frsize
    assert (found.type, found.network) == (find_file_system(tmp_path).type, False)


def test_without_a_directory_for_temporary_files_another_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, "/nowhere")
    require_temporary_directory(tmp_path)
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path
    assert os.environ["SQLITE_TMPDIR"] == str(tmp_path)


def test_the_directory_for_temporary_files_stays_if_it_is_there(tmp_path: Path) -> None:
    known = tempfile.gettempdir()
    require_temporary_directory(tmp_path)
    assert tempfile.gettempdir() == known
