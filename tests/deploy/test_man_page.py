"""The manual page has every command and option, and is one that `man` can show."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from man_page import make_page
from tests.rules.test_commands import COMMANDS


def test_the_page_names_every_command_and_its_options() -> None:
    page = make_page().replace("\\-", "-")
    sections = {part.partition("\n")[0]: part for part in page.split("\n.SS convstore ")[1:]}
    for name, command in COMMANDS.items():
        [section] = [part for head, part in sections.items() if re.match(rf"{name}( [\[A-Z]|$)", head)]
        options = [option for one in command.params for option in one.opts if option.startswith("--")]  # type: ignore[attr-defined]
        assert [option for option in options if option not in section] == []
    assert len(sections) == len(COMMANDS)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_finds_nothing_wrong_with_the_page() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-Kutf8"]
    shown = subprocess.run(command, input=make_page(), capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert "convstore index verify" in re.sub(r"\x1b\[\d*m|.\x08", "", shown.stdout)
