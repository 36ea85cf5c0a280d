"""Some tests need what a machine may lack; what could not be tried is said at the end of the run."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.deploy.containers import CAN_CONFINE
from tests.documents import ROOT
from tests.engines import SUITES
from tests.faults import networks
from tests.faults.strace import is_usable
from tests.postgres import find_lack
from tests.pythons import MISSING


def _lacks(*programs: str) -> str:
    """Say why a test with the real clients cannot run; empty if it can."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    return "" if (ROOT / ".clients/ready").exists() else "`make clients` was not run, or got nothing from npm"


def _may_mount() -> bool:
    """Whether this process may mount a file system, which takes root and, in a container, a capability."""
    with TemporaryDirectory() as disk:
        command = f"mount -t tmpfs -o size=1m tmpfs {disk} && umount {disk}"
        return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


_CANVAS_LACKS = _lacks("node", "chromium")
_CLIENT_LACKS = _lacks("node")

_NO_MCP = "the package mcp is not installed; run `make .venv/dev`"
_LEFT_OUT = {
    Path(__file__).parent / test: why
    for test, there, why in (
        ("deploy/test_nginx.py", shutil.which("nginx"), "nginx is not installed"),
        ("deploy/test_haproxy.py", shutil.which("haproxy"), "haproxy is not installed"),
        ("deploy/test_proxy_nginx.py", shutil.which("nginx"), "nginx is not installed"),
        ("deploy/test_proxy_caddy.py", shutil.which("caddy"), "caddy is not installed"),
        ("deploy/test_proxy_haproxy.py", shutil.which("haproxy"), "haproxy is not installed"),
        ("deploy/test_prometheus.py", shutil.which("prometheus"), "prometheus (with promtool) is not installed"),
        ("deploy/test_rclone.py", shutil.which("rclone"), "rclone is not installed"),
        ("deploy/test_restic.py", shutil.which("restic"), "restic is not installed"),
        ("deploy/test_systemd.py", shutil.which("systemd-analyze"), "systemd-analyze is not installed"),
        ("web/test_browser.py", shutil.which("chromium"), "chromium is not installed"),
        ("clients/test_agent_canvas.py", not _CANVAS_LACKS, _CANVAS_LACKS),
        ("clients/test_both_servers.py", not _CLIENT_LACKS, _CLIENT_LACKS),
        ("clients/test_typescript_client.py", not _CLIENT_LACKS, _CLIENT_LACKS),
        *(
            (test, find_spec("mcp"), _NO_MCP)
            for test in ("mcp", "api/routes/test_mcp.py", "cli/test_mcp.py", "conformance/test_mcp_agent.py")
        ),
        ("deploy/test_confined.py", CAN_CONFINE, "this process may not make a root file system of its own"),
        ("faults/test_full_disk.py", _may_mount(), "this process may not mount a small disk"),
        ("faults/test_every_call.py", is_usable(), "strace is missing or may not attach to a process"),
    )
    if not there
}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return collection_path in _LEFT_OUT or None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [f"{test.relative_to(ROOT)}, because {why}" for test, why in _LEFT_OUT.items()]
    if "OPENHANDS_PYTHON" not in os.environ:
        lines.append("the real agent-server and openhands-sdk, because OPENHANDS_PYTHON names no Python that has them")
    if lack := find_lack():
        lines.append(f"the suites {', '.join(SUITES)} with an index in PostgreSQL, because {lack}")
    if not networks.can_separate():
        lines.append(f"links of hosts to PostgreSQL that are cut, because {networks.WHY_NOT}")
    lines += [f"an installation with Python {version}, because there is none" for version in MISSING]
    for line in lines:
        terminalreporter.write_line(f"NOT TRIED: {line}", red=True, bold=True)
