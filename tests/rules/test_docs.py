"""README and docs/ know every command, option, setting and metric, and name nothing that there is not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic_core import PydanticUndefined

from app import Settings, __version__
from app.api.middleware import BODY_MAX_BYTES
from app.index.change_feed import DELETIONS_KEPT
from app.index.conversation_list import WALKED
from app.index.sqlite.migrations import HEAD
from app.model.text.event_text import SAID_MAX
from app.model.text.ranking import RANKED, SCORED
from app.model.text.tokenizer import TERMS_MAX, TOKEN_MAX
from tests.conftest import serving
from tests.documents import CHANGELOG, PAGES, ROOT, TEXT
from tests.rules.test_commands import COMMANDS

README_MAX_BYTES = 8000
CHANGELOG_MAX_WORDS = 850
"""Of one version: what is read in about three minutes."""
LINE_MAX = 130
GLOSSARY_MAX = 25


def without_code(text: str) -> str:
    """Return a page without its blocks of code and examples."""
    return re.sub(r"^(```.*?^```$|    .*?$)", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> Iterator[str]:
    """Give where the links of a page lead, but for those to other sites."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if not target.startswith("https://"):
            yield target


def is_broken(page: str, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    if not path.is_file():
        return True
    return bool(anchor) and anchor not in anchors(path.read_text())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_docs_show_the_command(command: str) -> None:
    assert f"`convstore {command}" in TEXT or f"`{command}" in TEXT


def test_the_docs_name_every_option() -> None:
    parameters = [one for command in COMMANDS.values() for one in command.params]  # type: ignore[attr-defined]
    options = {option for one in parameters for option in (*one.opts, *one.secondary_opts) if option.startswith("--")}
    assert options <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_the_docs_name_the_setting_with_its_default(setting: str) -> None:
    [default] = re.findall(rf"^\| `CONVSTORE_{setting.upper()}` \| (.*?) ?\|", TEXT, re.MULTILINE)
    told, own = re.fullmatch(r"`([\w.]+)`", default), Settings.model_fields[setting].default
    if told and own not in (None, "", PydanticUndefined):
        assert told[1] == (f"{own:g}" if isinstance(own, float) else str(own).lower())


def test_the_docs_name_no_setting_that_there_is_not() -> None:
    named = {name.lower() for name in re.findall(r"CONVSTORE_([A-Z_]+)", TEXT)}
    assert named <= {*Settings.model_fields}


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("docs/search.md", f"The newest {RANKED:,} matches are ranked"),
        ("docs/search.md", f"only the first {SCORED:,} characters"),
        ("docs/search.md", f"| words and phrases in a search | {TERMS_MAX} |"),
        ("docs/search.md", f"| characters of a word that are compared | {TOKEN_MAX} |"),
        ("docs/search.md", f"| characters of an event that are searched | {SAID_MAX:,} |"),
        ("docs/api.md", f"looks through the next {WALKED:,} rows"),
        ("docs/api.md", f"(the last {DELETIONS_KEPT:,} are)"),
        ("docs/api.md", f"the body is larger than {BODY_MAX_BYTES >> 20} MiB"),
    ],
)
def test_a_limit_in_the_docs_is_that_of_the_program(page: str, told: str) -> None:
    assert told in " ".join(PAGES[page].split())


async def test_the_docs_name_every_metric(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        await client.get("/api/conversations/search")
        answer = (await client.get("/metrics")).text
    shown = {family.name for family in text_string_to_metric_families(answer) if family.name.startswith("convstore_")}
    assert len(shown) > 10
    assert {name for name in shown if not re.search(rf"`{name}\b|`{name}_total\b", TEXT)} == set()


def test_examples_show_this_version_and_its_schema() -> None:
    assert f"\n    {HEAD} (this program needs {HEAD})\n" in TEXT
    assert {*re.findall(r"convstore (\d+\.\d+\.\d+)", TEXT)} == {__version__}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    assert [target for target in links((ROOT / page).read_text()) if is_broken(page, target)] == []


def test_the_readme_leads_to_every_page() -> None:
    assert {page for page in PAGES if page.startswith("docs/")} <= {*links(PAGES["README.md"])}


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/contributing.md", "docs/evidence.md"])
def test_a_page_names_only_files_that_there_are(page: str) -> None:
    named = re.findall(r"[`=]((?:app|tests|migrations|docs)/[\w/.]*)`", PAGES[page])
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_goals_of_make_that_there_are(page: str) -> None:
    goals = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:`|^    )make ([a-z-]+)", PAGES[page], re.MULTILINE)
    assert [name for name in named if name not in goals] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable_as_text(page: str) -> None:
    told = [line for line in without_code(PAGES[page]).splitlines() if not line.startswith("|")]
    assert [line for line in told if len(line) > LINE_MAX] == []
    assert [line for line in PAGES[page].splitlines() if re.search(r"/(work|root|tmp)/", line)] == []


def test_the_readme_is_read_to_the_end() -> None:
    assert len(PAGES["README.md"].encode()) <= README_MAX_BYTES


def test_the_glossary_is_short() -> None:
    glossary = PAGES["docs/architecture.md"].partition("\n## Glossary\n")[2].partition("\n## ")[0]
    terms = [line for line in glossary.splitlines() if line.startswith("| ") and not line.startswith("| term")]
    assert 0 < len(terms) <= GLOSSARY_MAX


def test_the_changelog_has_this_version_and_is_short() -> None:
    versions = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", CHANGELOG, re.DOTALL | re.MULTILINE))
    dated = [name for name in versions if name != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)", dated[0])
    assert [name for name in dated if len(versions[name].split()) > CHANGELOG_MAX_WORDS] == []


def test_the_source_distribution_has_the_docs() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert {"docs", "README.md", "CHANGELOG.md"} <= {*targets["sdist"]["include"]}
