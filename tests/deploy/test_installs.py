"""The built wheel and sdist install alone in a fresh environment. There the README's first commands print what it says.

Two combinations of Python, file and versions are a sample; `make installs` tries all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from app.index.sqlite.migrations import HEAD
from tests.cli.test_serve import served, wait_until_in_step
from tests.conftest import DATA
from tests.documents import PAGES, ROOT
from tests.pythons import PYTHONS

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Install(NamedTuple):
    """A file of a release, a Python, and the newest or the lowest versions of the dependencies."""

    file: str
    python: str
    versions: str


_ALL = [
    Install(file, python, versions)
    for python in PYTHONS
    for file, versions in (("*.whl", "newest"), ("*.tar.gz", "newest"), ("*.whl", "lowest"))
]
_SAMPLE = [Install("*.tar.gz", min(PYTHONS), "lowest"), Install("*.whl", max(PYTHONS), "newest")]
INSTALLS = _ALL if "CONVSTORE_TEST_INSTALLS" in os.environ else _SAMPLE

_OTHERS = 'raise ImportError("this package belongs to another program")\n'


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT, cwd=directory)
    return directory


@pytest.fixture(params=INSTALLS, ids="-".join)
def installed(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Path:
    """The `bin` directory of an environment in which convstore was installed."""
    file, python, versions = request.param
    [release] = built.glob(file)
    environment = tmp_path / "environment"
    if versions == "newest":
        run(PYTHONS[python], "-m", "venv", environment, cwd=tmp_path)
        run(environment / "bin/pip", "install", "--quiet", release, cwd=tmp_path)
    else:
        uv = Path(sys.executable).with_name("uv")
        run(uv, "venv", "--python", PYTHONS[python], environment, cwd=tmp_path)
        into = (uv, "pip", "install", "--python", environment / "bin/python")
        run(*into, "--resolution", "lowest-direct", "-r", ROOT / "pyproject.toml", cwd=tmp_path)
        run(*into, "--no-deps", release, cwd=tmp_path)
    return environment / "bin"


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the README's five things, and what it prints."""
    section = PAGES["README.md"].partition("\n## Five things to try\n")[2].partition("\n## ")[0]
    for command, printed in re.findall(
        r"^    \$ (.*)\n((?:(?!    \$).*\n)*?)(?=    \$|\n\*|\Z|\n$)", section, re.MULTILINE
    ):
        yield command, "".join(line.removeprefix("    ") for line in printed.splitlines(keepends=True))


def without_seconds(printed: str) -> str:
    return re.sub(r"\d+\.\d+ s$", "... s", printed.strip())


def test_an_installed_release_does_what_the_readme_says(installed: Path, tmp_path: Path) -> None:
    for name in ("conversations.tar.gz", "sample.tar.gz"):
        with tarfile.open(DATA / name) as archive:
            archive.extractall(tmp_path / ".sample", filter="data")
    [packages] = installed.parent.glob("lib/python*/site-packages")
    for place in (packages, tmp_path):
        (place / "app").mkdir()  # fails if there is one
        (place / "app/__init__.py").write_text(_OTHERS)
    store = tmp_path / ".sample/conversations"
    environment = {"PATH": f"{installed}:{os.environ['PATH']}"}
    tried = []

    with served(store, "--workers", "2", program=(str(installed / "convstore"), "serve")) as server:
        key = (store / ".convstore/api-key").read_text().strip()
        wait_until_in_step(server.url, key)
        page, style = (httpx.get(f"{server.url}{path}", timeout=60) for path in ("/", "/static/app.css"))
        for command, printed in commands():
            if command.startswith("rm "):
                break
            asked = command.replace("http://127.0.0.1:8000", server.url).replace("curl", "curl --silent")
            tried.append(command)
            got = run("sh", "-c", asked, cwd=tmp_path, KEY=key, **environment)
            assert without_seconds(got) == without_seconds(printed)
    for command, printed in [*commands()][len(tried) :]:
        tried.append(command)
        assert without_seconds(run("sh", "-c", command, cwd=tmp_path, **environment)) == without_seconds(printed)

    checked = run(installed / "convstore", "db", "check", "--json", "--store", store, cwd=tmp_path)
    schema = run(installed / "python", "-m", "convstore", "db", "current", "--store", store, cwd=tmp_path)
    library = "from convstore import ConversationStore as c; import sys; print(c.__module__, 'app' in sys.modules)"
    assert (page.status_code, style.status_code) == (200, 200)
    assert len(tried) == 6
    assert (installed.parent / "share/man/man1/convstore.1").exists()
    assert json.loads(checked) == []
    assert HEAD in schema
    assert run(installed / "python", "-c", library, cwd=tmp_path) == "convstore.store.store False\n"
