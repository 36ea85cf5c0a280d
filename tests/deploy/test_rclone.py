"""The docs' recipe for a copy with rclone, with the real program."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from tests.builders import make_conversation
from tests.documents import PAGES


def test_rclone_copies_the_conversations_and_nothing_else(tmp_path: Path) -> None:
    [recipe] = re.findall(r"^    (rclone sync (?:.*\\\n)*.*)\n", PAGES["docs/operating.md"], re.MULTILINE)
    command = shlex.split(recipe.replace("\\\n", " "))
    store, copy = tmp_path / "conversations", tmp_path / "copy"
    one = make_conversation(store)
    wanted = {path.relative_to(store) for path in store.rglob("*") if path.is_file()}
    for name in ("owner_lease.json", ".eventlog.lock", "events/.eventlog-len-2.marker", ".meta.json.0.tmp"):
        (one / name).touch()
    (store / ".convstore").mkdir()
    (store / ".convstore/api-key").touch()
    assert command[-2:] == ["/srv/conversations", "backup:conversations"]
    assert "--local-no-check-updated" in command
    subprocess.run([*command[:-2], str(store), str(copy)], check=True, capture_output=True)
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == wanted
