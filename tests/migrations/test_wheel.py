"""The migrations travel inside the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.index.sqlite.migrations import HEAD

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_an_installed_wheel_makes_and_checks_an_index(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, CHECKOUT)
    run(*build, cwd=tmp_path)
    [wheel] = tmp_path.glob("convstore-*.whl")
    installed = tmp_path / "installed"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", installed, wheel, cwd=tmp_path)
    store = tmp_path / "conversations"
    store.mkdir()

    where = run(sys.executable, "-c", "import app; print(app.__file__)", cwd=tmp_path, PYTHONPATH=str(installed))
    convstore = (sys.executable, "-m", "app.cli.main", "db")
    upgraded = run(*convstore, "upgrade", "--store", store, "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    drift = run(*convstore, "check", "--store", store, "--json", cwd=tmp_path, PYTHONPATH=str(installed))

    assert Path(where.strip()).is_relative_to(installed)
    assert json.loads(upgraded).items() >= {"before": None, "after": HEAD}.items()
    assert json.loads(drift) == []
