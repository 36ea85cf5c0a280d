"""The docs' recipe for a backup with restic, with the real program."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.builders import make_conversation
from tests.documents import PAGES


@pytest.mark.long
def test_restic_restores_the_conversations_and_nothing_else(tmp_path: Path) -> None:
    [recipe] = re.findall(r"^    (restic backup (?:.*\\\n)*.*)\n", PAGES["docs/operating.md"], re.MULTILINE)
    store, restored = tmp_path / "conversations", tmp_path / "restored"
    one = make_conversation(store)
    wanted = {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for name in ("owner_lease.json", ".eventlog.lock", "events/.eventlog-len-2.marker", ".meta.json.0.tmp"):
        (one / name).touch()
    (store / ".convstore").mkdir()
    (store / ".convstore/api-key").touch()
    environment = os.environ | {"RESTIC_REPOSITORY": str(tmp_path / "backup"), "RESTIC_PASSWORD": "a password"}
    backup = shlex.split(recipe.replace("\\\n", " ").replace("/srv/conversations", str(store)))
    for command in (["restic", "init"], backup, ["restic", "restore", "latest", "--target", str(restored)]):
        subprocess.run([*command, "--no-cache"], env=environment, check=True, capture_output=True)
    copy = restored / store.relative_to("/")
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == wanted
