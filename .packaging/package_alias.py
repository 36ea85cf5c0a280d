"""One package under two names: `import NAME.module` gives the module of the package that has another name.

The package is the folder `app` in the checkout, and `convstore` where it is installed. In the checkout `convstore` is
an alias, for the command and for the examples of the docs. Where the tests run against an installed package, `app` is
the alias. Either way each module is loaded once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_loader
from types import ModuleType


def add_alias(alias: str, package: str) -> None:
    """Let `alias` and all modules below it be those of `package`."""
    sys.meta_path.insert(0, _Finder(alias, package))
    sys.modules[alias] = import_module(package)


class _Finder(MetaPathFinder):
    def __init__(self, alias: str, package: str) -> None:
        self._alias = alias
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        found = None
        if fullname.startswith(f"{self._alias}."):
            found = find_spec(self._package + fullname.removeprefix(self._alias))
        return spec_from_loader(fullname, _Loader(fullname, found)) if found and found.origin else None


class _Loader(SourceFileLoader):
    """Reads a module's code for `python -m`. For an import, it returns the module of the package."""

    def __init__(self, fullname: str, found: ModuleSpec) -> None:
        super().__init__(fullname, str(found.origin))
        self._found = found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return import_module(self._found.name)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec again. The import system has replaced it with the spec of the alias."""
        module.__spec__ = self._found
