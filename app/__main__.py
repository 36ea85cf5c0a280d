"""`python -m convstore` is the `convstore` command."""

from __future__ import annotations

from .cli.entry import run

run()
