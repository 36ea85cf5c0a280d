"""The docs' recipe for HAProxy, also with a prefix, with a real HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.proxied import check_proxied, proxied, with_file

pytestmark = pytest.mark.long


@contextmanager
def haproxy(directory: Path, text: str) -> Iterator[None]:
    with with_file(directory, f"global\n    maxconn 100\n{text}", "haproxy", "-f"):
        yield


@pytest.mark.parametrize("prefix", ["", "/convstore"])
def test_all_works_through_haproxy(prefix: str, tmp_path: Path) -> None:
    with proxied(tmp_path, "haproxy prefix", prefix, haproxy) as (url, server):
        check_proxied(url, server)
