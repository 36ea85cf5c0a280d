"""The image and the compose file of the docs: each step of the image runs, and what was built serves a store."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.api.routes.server import COMPATIBLE_WITH
from tests.builders import make_conversation
from tests.deploy.containers import CAN_CONFINE, WHY_NOT, Container, build, is_ignored, read_ignored, read_stages
from tests.deploy.recipes import free_port, recipe
from tests.documents import PAGES, ROOT
from tests.pythons import PYTHONS

FILES = ROOT / "docs/container"
DOCKERFILE = FILES / "Dockerfile"
COMPOSE = yaml.safe_load((FILES / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
KEY = "a-key-of-the-container"
_NOT_TRIED = WHY_NOT if not CAN_CONFINE else "NOT TRIED: there is no Python 3.12" if "3.12" not in PYTHONS else ""
confined = pytest.mark.skipif(bool(_NOT_TRIED), reason=_NOT_TRIED)


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        *((name, False) for name in (".git", ".venv", ".sample", ".mypy_cache", "dist")),
        *((name, True) for name in (".packaging", "app", "migrations", "alembic.ini", "pyproject.toml", "README.md")),
    ],
)
def test_what_is_made_here_is_no_part_of_an_image(name: str, copied: bool) -> None:
    assert "COPY . /src" in DOCKERFILE.read_text()
    assert is_ignored(name, read_ignored()) != copied


def test_image_compose_file_and_docs_agree() -> None:
    image = {step.name: step.argument for step in read_stages(DOCKERFILE.read_text())[-1]}
    [uid] = {*re.findall(r"(?:--uid |--owner=)(\d+)", DOCKERFILE.read_text())}
    page = PAGES["docs/operating.md"]
    own, nginx = SERVICES["convstore"], (FILES / "nginx.conf").read_text()
    assert image["USER"] == uid
    assert f"uid {uid}" in page
    assert own["build"] == {"context": "../..", "dockerfile": "docs/container/Dockerfile"}
    assert (FILES / own["build"]["context"]).resolve() == ROOT
    assert f"server convstore:{image['EXPOSE']};" in nginx
    assert own["ports"] == [f"127.0.0.1:{image['EXPOSE']}:{image['EXPOSE']}"]
    [port] = re.findall(r"listen (\d+);", nginx)
    assert SERVICES["nginx"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    volume = own["volumes"][0]
    assert volume in SERVICES["agent-server"]["volumes"]
    assert volume.partition(":")[2] == SERVICES["agent-server"]["environment"]["OH_CONVERSATIONS_PATH"]
    assert f"CONVSTORE_STORE={volume.partition(':')[2]} " in DOCKERFILE.read_text()
    assert own["environment"]["CONVSTORE_API_KEY"] == SERVICES["agent-server"]["environment"]["OH_SESSION_API_KEYS_0"]
    assert SERVICES["agent-server"]["image"] == f"ghcr.io/openhands/agent-server:{COMPATIBLE_WITH}-python"


def test_services_of_the_compose_file_use_only_what_it_defines() -> None:
    for service in SERVICES.values():
        sources = {volume.partition(":")[0] for volume in service["volumes"]}
        assert {name for name in sources if not name.startswith(".")} <= COMPOSE["volumes"].keys()
        assert all((FILES / name).exists() for name in sources if name.startswith("."))
        assert {*service.get("depends_on", ())} <= SERVICES.keys()


def test_nginx_of_the_compose_file_is_the_recipe_of_the_docs() -> None:
    own = (FILES / "nginx.conf").read_text().partition("\n")[2]
    for service, address in (("agent-server:8000", "127.0.0.1:3000"), ("convstore:8000", "127.0.0.1:8000")):
        assert service in own
        own = own.replace(service, address)
    told = re.sub(r"server_name .*", "server_name localhost;", recipe("nginx"))
    assert own == told


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Container:
    """The image of the docs, built step by step."""
    return build(DOCKERFILE, ROOT, tmp_path_factory.mktemp("image"), PYTHONS["3.12"])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A volume with one conversation, which the group 0 may write to."""
    volume = tmp_path / "volume"
    make_conversation(volume)
    for path in (volume, *volume.rglob("*")):
        path.chmod(0o2770 if path.is_dir() else 0o660)
    return volume


@contextmanager
def started(image: Container, store: Path, **how: Any) -> Iterator[httpx.Client]:
    """Run the image, wait until its health check succeeds, and return a client of it."""
    port = free_port()
    image.environment |= {"CONVSTORE_API_KEY": KEY, "CONVSTORE_PORT": str(port)}
    how = {"read_only": True, "volumes": {"/conversations": store}, **how}
    health = [part.replace(f":{image.port}/", f":{port}/") for part in image.health]
    with subprocess.Popen(
        image.confine(image.command, **how), env=image.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while image.run(*health, **how).returncode:
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Session-API-Key": KEY}) as client:
                yield client
        finally:
            process.kill()


@confined
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("user", [None, "1000770000"], ids=["its-own-user", "a-random-uid"])
def test_the_image_serves_on_a_read_only_root(image: Container, store: Path, user: str | None) -> None:
    assert image.user == "10001"
    with started(image, store, user=user) as client:
        deadline = time.monotonic() + 60
        while client.get("/api/conversations/count").json() != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        [one] = client.get("/api/conversations/search").json()["items"]
        assert client.patch(f"/api/conversations/{one['id']}", json={"title": "Named inside"}).status_code == 200
        assert client.get(f"/api/conversations/{one['id']}/export").content[:2] == b"PK"
        assert client.get("/").status_code == 200
    told = json.loads(image.run("convstore", "list", "--json", user=user, volumes={"/conversations": store}).stdout)
    assert [item["title"] for item in told["items"]] == ["Named inside"]
