"""The docs' recipe for Caddy, also with a prefix, with a real Caddy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.proxied import check_proxied, proxied, with_file

pytestmark = pytest.mark.long


@contextmanager
def caddy(directory: Path, text: str) -> Iterator[None]:
    whole = f"{{\n    admin off\n    auto_https off\n    storage file_system {directory}/caddy\n}}\n{text}"
    with with_file(directory, whole, "caddy", "run", "--adapter", "caddyfile", "--config"):
        yield


@pytest.mark.parametrize("prefix", ["", "/convstore"])
def test_all_works_through_caddy(prefix: str, tmp_path: Path) -> None:
    with proxied(tmp_path, "caddy", prefix, caddy) as (url, server):
        check_proxied(url, server)
