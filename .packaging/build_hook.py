"""Puts the manual page into a release: hatchling runs this when it builds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPage(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the page for the sdist. The wheel gets that of the sdist, or its own if it is built from the checkout.

    An isolated build of the checkout, as by `pip install .`, has no page: there the command's dependencies are missing.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the page to the files of the build."""
        if version == "editable":
            return
        page = Path(self.root, "man", "convstore.1")
        if not page.exists():
            made = self._make()
            if made is None:
                self.app.display_warning("the manual page is left out, because the command cannot run here")
                return
            self._directory = TemporaryDirectory()
            page = Path(self._directory.name, page.name)
            page.write_text(made)
        if self.target_name == "sdist":
            build_data["force_include"][str(page)] = "man/convstore.1"
        else:
            build_data["shared_data"][str(page)] = "share/man/man1/convstore.1"

    def _make(self) -> str | None:
        made = subprocess.run(  # noqa: S603
            [sys.executable, str(Path(self.root, ".packaging", "man_page.py"))],
            env=os.environ | {"PYTHONPATH": self.root},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode and "ModuleNotFoundError" not in made.stderr:
            raise RuntimeError(made.stderr)
        return None if made.returncode else made.stdout
