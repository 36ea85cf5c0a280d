"""The Pythons of this machine for which convstore is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.documents import ROOT


def _named() -> list[str]:
    """Return the versions that the package says it runs with, such as 3.11."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    return [one.rpartition(" ")[2] for one in classifiers if one.startswith("Programming Language :: Python :: 3.")]


def _places(version: str) -> Iterator[str | Path]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"))


def _can_make_environments(python: str | Path) -> bool:
    return not subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode


PYTHONS = {
    version: python
    for version in _named()
    if (python := next(filter(_can_make_environments, _places(version)), None)) is not None
}
"""A program by its version."""

MISSING = [version for version in _named() if version not in PYTHONS]
