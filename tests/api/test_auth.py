"""Who may ask: keys, their file, Host headers, and origins of browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from app import Settings
from app.api.access.key_files import load_keys
from app.api.app import create_app
from app.api.auth import OPEN_PATHS
from app.api.headers import API_KEY
from app.errors import InvalidSettings
from tests.builders import make_conversation, make_id
from tests.conftest import serving

COUNT = "/api/conversations/count"
LOCAL = "http://localhost:3001"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root), key="the-key") as client:
        yield client


@pytest.mark.parametrize("key", [None, "", "another", "the-key ", "THE-KEY", "the-keythe-key"])
async def test_without_a_valid_key_nothing_is_answered(client: httpx.AsyncClient, key: str | None) -> None:
    del client.headers[API_KEY]
    answer = await client.get(COUNT, headers={} if key is None else {API_KEY: key})
    told = f"the API key in the header {API_KEY} is not valid for this server"
    told = told if key else f"send the API key in the header {API_KEY}"
    assert (answer.status_code, answer.json()) == (401, {"detail": told, "code": "unauthorized"})


@pytest.mark.parametrize("path", ["/nothing", "/api/index/status", "/api/conversations/count/", "//health", "/health/"])
async def test_every_other_path_needs_the_key_too(client: httpx.AsyncClient, path: str) -> None:
    del client.headers[API_KEY]
    assert (await client.get(f"http://localhost{path}")).status_code == 401


async def test_a_key_in_the_url_does_not_count(client: httpx.AsyncClient) -> None:
    del client.headers[API_KEY]
    assert (await client.get(COUNT, params={API_KEY: "the-key", "api_key": "the-key"})).status_code == 401


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_health_and_the_description_need_no_key(client: httpx.AsyncClient, path: str) -> None:
    del client.headers[API_KEY]
    assert (await client.get(path)).status_code == (307 if path == "/" else 200)


async def test_each_of_several_keys_is_valid(root: Path) -> None:
    settings = Settings.model_validate({"store": root, "api_key": "one, two"})
    keys, made = load_keys(settings)
    assert (keys, made) == (["one", "two"], False)
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        statuses = [
            (await client.get("/nothing", headers={API_KEY: key})).status_code for key in ("one", "two", "three")
        ]
    assert statuses == [404, 404, 401]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])  # noqa: S104
def test_on_any_other_address_keys_cannot_be_off(root: Path, host: str) -> None:
    with pytest.raises(InvalidSettings, match="loopback"):
        create_app(Settings(store=root, host=host, no_auth=True))


async def test_with_keys_off_no_key_is_asked_for(root: Path) -> None:
    async with serving(Settings(store=root, no_auth=True), key=None) as client:
        assert (await client.get(COUNT)).json() == 0


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
async def test_this_machine_s_names_are_accepted_as_host(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get(COUNT, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""]
)
async def test_another_host_is_refused(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get(COUNT, headers={"Host": host})).status_code == 400


@pytest.mark.parametrize("path", ["/alive", "/health", "/ready"])
@pytest.mark.parametrize("host", ["10.0.0.1:8000", "evil.example", ""])
async def test_a_health_check_may_come_with_any_host(client: httpx.AsyncClient, path: str, host: str) -> None:
    del client.headers[API_KEY]
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await client.request(method, path, headers={"Host": host})).is_success
    assert (await client.post(path, headers={"Host": host})).status_code == 400


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("10.1.2.3", "10.1.2.3:8000", 200),
        ("10.1.2.3", "10.1.2.4:8000", 400),
        ("fd00::1", "[fd00::1]:8000", 200),
        ("fd00::1", "[FD00:0::1]", 200),
        ("::ffff:10.1.2.3", "10.1.2.3", 200),
        ("/run/convstore.sock", "/run/convstore.sock", 400),
    ],
)
async def test_the_address_of_the_connection_is_a_host(root: Path, address: str, host: str, status: int) -> None:
    async with serving(Settings(store=root)) as client:
        application = cast(httpx.ASGITransport, client._transport).app

        async def arrived(scope: Any, receive: Any, send: Any) -> None:
            await cast(Any, application)({**scope, "server": (address, 8000)}, receive, send)

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(arrived), base_url="http://x", headers=client.headers
        ) as direct:
            origin = {"Host": host, "Origin": f"http://{host}"}
            assert (await direct.get(COUNT, headers={"Host": host})).status_code == status
            written = await direct.post("/api/conversations", json={}, headers=origin)
            assert (written.status_code == 422) == (status == 200)


async def test_a_host_that_is_allowed_is_accepted(root: Path) -> None:
    settings = Settings.model_validate({"store": root, "allowed_hosts": "a.example, b.example"})
    async with serving(settings) as client:
        hosts = ["a.example", "b.example:81", "c.example"]
        statuses = [(await client.get(COUNT, headers={"Host": host})).status_code for host in hosts]
    assert statuses == [200, 200, 400]


@pytest.mark.parametrize(
    "given", ["conv.example", "conv.example:8443", "https://conv.example", "HTTPS://Conv.Example:8443/"]
)
async def test_a_host_may_be_written_as_in_an_address(root: Path, given: str) -> None:
    async with serving(Settings.model_validate({"store": root, "allowed_hosts": given})) as client:
        hosts = ["conv.example", "conv.example:8443", "CONV.example", "other.example"]
        statuses = [(await client.get(COUNT, headers={"Host": host})).status_code for host in hosts]
    assert statuses == [200, 200, 200, 400]


async def test_an_ipv6_address_is_a_host(root: Path) -> None:
    async with serving(Settings.model_validate({"store": root, "allowed_hosts": "fd00::1,[fd00::2]:80"})) as client:
        hosts = ["[fd00::1]", "[fd00::1]:8000", "[fd00::2]", "[fd00::3]"]
        statuses = [(await client.get(COUNT, headers={"Host": host})).status_code for host in hosts]
    assert statuses == [200, 200, 200, 400]


@pytest.mark.parametrize("given", ["a.example/path", "*.example", "user@a.example", "a.example:x", "https://", "a b"])
def test_what_is_no_host_is_refused_with_its_name(root: Path, given: str) -> None:
    with pytest.raises(ValueError, match="is not a host; write a name such as"):
        Settings.model_validate({"store": root, "allowed_hosts": given})


@pytest.mark.parametrize("origin", [LOCAL, "http://127.0.0.1:5173", "https://localhost", "http://[::1]:3000"])
async def test_a_preflight_of_a_local_page_needs_no_key(client: httpx.AsyncClient, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": API_KEY}
    del client.headers[API_KEY]
    answer = await client.options(COUNT, headers={"Origin": origin} | asked)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)
    assert API_KEY in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost.evil.example", "http://localhost:1@evil", "null"]
)
async def test_a_page_from_elsewhere_is_allowed_nothing(client: httpx.AsyncClient, origin: str) -> None:
    preflight = await client.options(COUNT, headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    plain = await client.get(COUNT, headers={"Origin": origin})
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in {*preflight.headers, *plain.headers}


async def test_a_local_page_may_read_an_error(client: httpx.AsyncClient) -> None:
    del client.headers[API_KEY]
    answer = await client.get(COUNT, headers={"Origin": LOCAL})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, LOCAL)


@pytest.mark.parametrize(("origin", "status"), [(LOCAL, 405), ("http://evil.example", 403), ("null", 403), (None, 405)])
async def test_a_page_from_elsewhere_may_not_write(client: httpx.AsyncClient, origin: str | None, status: int) -> None:
    headers = {"Origin": origin} if origin else {}
    answer = await client.post("/alive", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(("name", "status"), [("Host", 400), ("Origin", 403)])
async def test_a_header_that_comes_twice_is_refused(client: httpx.AsyncClient, name: str, status: int) -> None:
    good, other = ("localhost", "evil.example") if name == "Host" else (LOCAL, "http://evil.example")
    answer = await client.post("/alive", headers=[(name, good), (name, other), (API_KEY, "the-key")])
    assert answer.status_code == status


async def test_a_foreign_page_may_not_write(root: Path) -> None:
    one = f"/api/conversations/{make_id(1)}"
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.patch(one, json={"title": "x"}, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        text = await client.patch(one, content='{"title": "x"}', headers={"Content-Type": "text/plain"})
        assert text.status_code == 422
        assert (await client.get(one)).json()["title"] == "A title"
