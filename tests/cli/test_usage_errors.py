"""Wrong use is told in a line that says what is wrong, and nothing that was asked for is passed over."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command

ONE = make_id(1)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("export", ONE, "--resume"), "--resume goes with --to"),
        (("export", ONE, "-o", "x.jsonl", "--format", "zip"), "x.jsonl is named as jsonl, but --format asks for zip"),
        (
            ("export", ONE, "-o", "x.json"),
            "x.json is named as nothing that can be written; name it .zip, .jsonl or .md",
        ),
        (("list", "--min-cost", "nan"), "--min-cost nan is no cost"),
        (("count", "--max-cost", "inf"), "--max-cost inf is no cost"),
        (("list", "--tag", ""), "--tag '' is no tag; write KEY, KEY:VALUE or KEY=VALUE"),
        (("count", "--tag", "An area"), "--tag 'An area' is no tag"),
        (("prune", "--older-than", "1d", "--keep-tag", "Pinned", "--yes"), "--keep-tag 'Pinned' is no tag"),
        (("prune", "--older-than", "1d", "--title", "", "--yes"), "--title '' is blank and leaves nothing out"),
        (("export", "--all", "--q", " ", "-o", "x.zip"), "--q ' ' is blank and leaves nothing out; give words"),
        (("count", "--title", "\u0301"), "is blank and leaves nothing out"),
        (("serve", "--workers", "0"), "convstore: --workers: Input should be greater than or equal to 1"),
        (("serve", "--port", "70000"), "convstore: --port: Input should be less than or equal to 65535"),
        (("serve", "/nowhere"), "DIR and --store are the same"),
    ],
    ids=str,
)
def test_wrong_use_is_told_in_a_line(root: Path, convstore: Command, command: tuple[str, ...], told: str) -> None:
    make_conversation(root)
    ran = convstore(*command, "--store", root)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert told in ran.err


def test_a_value_that_there_is_not_is_told_with_those_that_there_are(root: Path, convstore: Command) -> None:
    ran = convstore("list", "--status", "eror", "--store", root)
    assert (ran.code, "Invalid value for '--status': 'eror' is not one of" in ran.err) == (2, True)


def test_a_variable_that_is_nearly_a_setting_is_told(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    for name in ("CONVSTORE_PROT", "CONVSTORE_SERVICE_HOST"):
        monkeypatch.setenv(name, "8100")
    ran = convstore("count", "--store", root)
    told = "convstore: CONVSTORE_PROT is no setting and changes nothing; did you mean CONVSTORE_PORT?\n"
    assert (ran.code, ran.out, ran.err) == (0, "1\n", told)


@pytest.mark.parametrize(
    ("command", "closed", "code"), [("prune --older-than 1m", 0, 2), ("list --json", 1, 0), ("show ffff", 2, 2)]
)
def test_a_stream_that_is_closed_is_as_if_it_led_nowhere(root: Path, command: str, closed: int, code: int) -> None:
    make_conversation(root, meta={"updated_at": "2026-01-01T00:00:00Z"}, events=0)
    line = f"exec {Path(sys.executable).with_name('convstore')} {command} --store {root} {closed}>&-"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("Traceback")) == (code, 0)


@pytest.mark.parametrize(("name", "begins"), [("a.jsonl", b"{"), ("a.md", b"#"), ("a.zip", b"PK"), ("a", b"PK")])
def test_an_export_has_the_format_of_its_name(
    root: Path, tmp_path: Path, convstore: Command, name: str, begins: bytes
) -> None:
    make_conversation(root)
    assert convstore("export", "--all", "-o", tmp_path / name, "--store", root).code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_markdown_cannot_be_imported(root: Path, tmp_path: Path, convstore: Command) -> None:
    (tmp_path / "x.md").write_text("# A talk\n")
    ran = convstore("import", tmp_path / "x.md", "--store", root)
    assert (ran.code, "is Markdown, which is for reading and cannot be imported" in ran.err) == (2, True)


def test_where_nobody_can_listen_is_told_plainly(root: Path, convstore: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = convstore("serve", root, "--port", port)
    assert (ran.code, f"port {port} (Address already in use); choose another with --port" in ran.err) == (2, True)
    ran = convstore("serve", root, "--host", "no.such.host.invalid", "--port", port)
    assert (ran.code, ran.err.endswith("; choose another with --host\n")) == (2, True)


@pytest.mark.parametrize("command", ["export", "import", "search", "delete", "serve"])
def test_usage_has_no_dots_twice(convstore: Command, command: str) -> None:
    [usage] = [line for line in convstore(command, "--help").out.splitlines() if "Usage:" in line]
    assert "...]" not in usage.replace("]...", "")
    assert "...}" not in usage


def test_a_directory_that_is_no_store_is_told(tmp_path: Path, convstore: Command) -> None:
    ran = convstore("count", "--store", tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "0\n", f"convstore: no conversation directories in {tmp_path}\n")
    make_conversation(tmp_path)
    assert convstore("count", "--store", tmp_path).err == ""


_INTERRUPTED = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "app.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from app.cli.entry import run
run()
"""


def test_an_interruption_while_the_command_is_imported_ends_it_quietly() -> None:
    ran = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")
