"""Rendering the templates. Every text is escaped unless `app.web.markup` made it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__
from . import markup
from .event_bodies import IMAGE_MAX


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "money": _money, "short_path": _short_path, "short_model": _short_model}
    environment.filters |= {"markdown": markup.markdown, "snippet": markup.snippet, "inline": markup.inline}
    favicon = resources.files(__package__).joinpath("static/favicon.svg").read_text()
    environment.globals |= {
        "version": __version__,
        "static": f"/static/{find_static_version()}",
        "favicon": favicon,
        "image_max": IMAGE_MAX,
    }
    return environment


@cache
def find_static_version() -> str:
    """Return a digest of the files of the page. It is in their addresses, so a browser may keep them for ever."""
    digest = sha256()
    for file in sorted(resources.files(__package__).joinpath("static").iterdir(), key=lambda one: one.name):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def render(name: str, context: Mapping[str, object]) -> str:
    """Return a template rendered with these values."""
    return _environment().get_template(name).render(context)


def _number(value: int) -> str:
    """Return a number as people read it: 362, 4,180, 1.24 M."""
    return f"{value / 1_000_000:.2f} M" if value >= 1_000_000 else f"{value:,}"


def _money(value: float | None) -> str:
    """Return an amount in dollars, or a dash if no cost was recorded, because an unknown cost is not $0."""
    if value is None:
        return "—"
    return f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"


def _short_path(path: str) -> str:
    """Return a directory with the home directory as ~."""
    parts = path.split("/")
    return "/".join(["~", *parts[3:]]) if len(parts) > 3 and parts[1] in ("home", "Users") and parts[0] == "" else path


def _short_model(model: str) -> str:
    """Return the name of a model without its provider and the date of its version."""
    return re.sub(r"-20\d{6}$", "", model.rpartition("/")[2])
