"""The way into the `convstore` command: Ctrl-C also counts while the rest of it is imported."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command, as `app.cli.main.run` does."""
    try:
        from app.cli.main import run as run_command  # noqa: PLC0415 - it takes most of a second

        run_command()
    except KeyboardInterrupt:
        sys.exit(130)
