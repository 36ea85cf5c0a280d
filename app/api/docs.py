"""/docs: the description of the API, as a page that loads nothing from elsewhere.

FastAPI's own page takes its script from a content network, and people paste their key into it. fastapi-offline brings
the same files; the page may run those and its one inline script, known by its hash, and speak with this server alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib.resources import as_file, files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

PATH = "/docs"
_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")

OPEN_PATHS = frozenset({"/", "/openapi.json", PATH, *(f"{PATH}/{name}" for name in _FILES)})
"""What needs no key: it describes the API and holds no data."""


def install(app: FastAPI) -> None:
    """Serve the page, and go there from /."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title}: API",
        swagger_js_url=f"{PATH}/{_FILES[0]}",
        swagger_css_url=f"{PATH}/{_FILES[1]}",
        swagger_favicon_url=f"{PATH}/{_FILES[2]}",
        swagger_ui_parameters={"persistAuthorization": False},
    )
    html = bytes(page.body)
    policy = {"Content-Security-Policy": _policy(html.decode())}

    async def get_page() -> HTMLResponse:
        return HTMLResponse(html, headers=policy)

    async def to_page() -> RedirectResponse:
        return RedirectResponse(PATH)

    app.add_api_route("/", to_page, include_in_schema=False)
    app.add_api_route(PATH, get_page, include_in_schema=False)
    for name in _FILES:
        with as_file(files("fastapi_offline") / "static" / name) as path:
            app.add_api_route(f"{PATH}/{name}", _sender(str(path)), include_in_schema=False)


def _sender(path: str) -> Callable[[], Awaitable[FileResponse]]:
    async def get_file() -> FileResponse:
        return FileResponse(path, headers={"Cache-Control": "max-age=86400"})

    return get_file


def _policy(html: str) -> str:
    """Return a Content-Security-Policy under which the page works and nothing else does."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in inline)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
