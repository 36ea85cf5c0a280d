"""The package has two names here, `app` and `convstore`, and each module is loaded once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_BOTH = """
import sys
import convstore, convstore.files.layout, app, app.files.layout
from convstore.store.store import ConversationStore
from app.store import store
assert convstore is app and ConversationStore is store.ConversationStore
files = [str(getattr(module, "__file__", "")) for module in {*sys.modules.values()}]
files = [file for file in files if file.startswith(app.__path__[0])]
assert len(files) == len({*files}) > 10
for name in ("app.files.layout", "convstore.files.layout"):
    assert sys.modules[name].__spec__.name == sys.modules[name].__name__
"""


def run(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=60).stdout


def test_each_module_is_loaded_once_under_both_names(tmp_path: Path) -> None:
    assert run("-c", _BOTH, cwd=tmp_path) == ""


@pytest.mark.parametrize("module", ["convstore", "convstore.cli.main", "app"])
def test_python_runs_the_command_by_either_name(module: str, tmp_path: Path) -> None:
    assert run("-m", module, "--version", cwd=tmp_path).startswith("convstore ")
