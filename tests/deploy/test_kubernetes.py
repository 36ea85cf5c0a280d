"""The probes of the docs address a server as the kubelet does: by its IP address."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.test_serve import served
from tests.deploy.recipes import recipe


@pytest.mark.long
def test_each_probe_succeeds_on_a_server_addressed_by_ip(tmp_path: Path) -> None:
    probes = yaml.safe_load(recipe("yaml"))
    assert [*probes] == ["startupProbe", "livenessProbe", "readinessProbe"]
    with served(tmp_path, CONVSTORE_HOST="0.0.0.0", CONVSTORE_API_KEY="the-key-of-the-test") as server:  # noqa: S104
        url = server.url.replace("0.0.0.0", "127.0.0.2")  # noqa: S104
        for probe in probes.values():
            assert probe["httpGet"]["port"] == 8000
            assert httpx.get(url + probe["httpGet"]["path"]).status_code == 200
        headers = {"X-Session-API-Key": "the-key-of-the-test"}
        assert httpx.get(f"{url}/metrics", headers=headers).status_code == 200
        assert httpx.get(f"{url}/metrics", headers=headers | {"Host": "evil.example"}).status_code == 400
