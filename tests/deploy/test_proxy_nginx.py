"""The docs' recipe for nginx, also with a prefix, with a real nginx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.deploy.proxied import check_proxied, proxied, with_file

pytestmark = pytest.mark.long


@contextmanager
def nginx(directory: Path, text: str) -> Iterator[None]:
    kept = "\n".join(
        f"{what}_temp_path {directory}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = (
        f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{kept}\n{text}\n}}\n"
    )
    with with_file(directory, whole, "nginx", "-e", f"{directory}/error.log", "-c"):
        yield


@pytest.mark.parametrize("prefix", ["", "/convstore"])
def test_all_works_through_nginx(prefix: str, tmp_path: Path) -> None:
    with proxied(tmp_path, "nginx prefix", prefix, nginx) as (url, server):
        check_proxied(url, server)


def test_all_works_through_an_nginx_that_removes_the_prefix(tmp_path: Path) -> None:
    def remove(directory: Path, text: str) -> AbstractContextManager[None]:
        sent = 'X-Forwarded-Prefix "";'
        assert sent in text
        text = text.replace("location /", "location /convstore/").replace(sent, "X-Forwarded-Prefix /convstore;")
        return nginx(directory, text.replace("proxy_pass http://convstore;", "proxy_pass http://convstore/;"))

    with proxied(tmp_path, "nginx prefix", "", remove) as (url, server):
        check_proxied(f"{url}/convstore", server)
