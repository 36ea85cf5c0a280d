"""The two kinds of secrets: a secret with its value, and a secret that is fetched from a URL."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from .base import Guest


def _check_url(url: str) -> str:
    urlsplit(url)  # raises ValueError
    return url


class _Secret(Guest):
    description: str | None = None


class StaticSecret(_Secret):
    """A secret with its value."""

    kind: Literal["StaticSecret"]
    value: str | None = None


class LookupSecret(_Secret):
    """A secret that is fetched from a URL when it is needed."""

    kind: Literal["LookupSecret"]
    url: Annotated[str, AfterValidator(_check_url)]
    headers: dict[str, str] = {}


SecretSource = Annotated[StaticSecret | LookupSecret, Field(discriminator="kind")]
