"""`convstore rename`, `tag`, `fork`, `delete` and `restore`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders import make_conversation, make_event, make_id, second_process
from tests.cli.conftest import Command

ONE = make_id(1)

_OWN = """
import asyncio, sys
from pathlib import Path
from app import ConversationStore, Settings
async def main():
    async with ConversationStore.open(Settings(store=Path(sys.argv[1]))) as store:
        async with store.writer(sys.argv[2]) as conversation:
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


def meta(path: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((path / "meta.json").read_text())
    return value


def test_renaming_and_tagging(root: Path, convstore: Command) -> None:
    path = make_conversation(root, state={"tags": {"old": "1", "gone": "2"}})
    assert convstore("rename", ONE, "A new name", "--store", root).code == 0
    ran = convstore("tag", ONE, "area=store", "gone=", "--store", root)
    assert (ran.code, ran.out) == (0, "area=store old=1\n")
    assert (meta(path)["title"], meta(path)["tags"]) == ("A new name", {"old": "1", "area": "store"})
    assert convstore("rename", ONE, " ", "--store", root).code == 2
    assert convstore("tag", ONE, "area", "--store", root).code == 2
    shown = convstore("show", ONE, "--store", root, "--json").json["conversation"]
    assert (shown["title"], shown["tags"]) == ("A new name", {"old": "1", "area": "store"})


def test_forking_prints_the_new_id(root: Path, convstore: Command) -> None:
    make_conversation(root, events=4)
    ran = convstore("fork", ONE, "--title", "Copy", "--from-event", make_event(1)["id"], "--store", root)
    made = ran.out.strip()
    shown = convstore("show", made, "--store", root, "--json").json
    assert (shown["conversation"]["title"], len(shown["events"])) == ("Copy", 2)


def test_deleting_and_restoring(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    assert convstore("delete", ONE, "--store", root, "--dry-run").out.startswith("would be deleted: ")
    assert path.exists()
    assert convstore("delete", ONE, "--store", root, "--json").json["dry_run"] is False
    assert not path.exists()
    assert convstore("restore", "--store", root, "--json").json["items"][0]["title"] == "A title"
    assert "A title" in convstore("restore", "--store", root).out
    assert convstore("restore", "ffff", "--store", root).code == 2
    assert convstore("restore", ONE[:12], "--store", root).code == 0
    assert path.exists()
    assert convstore("delete", ONE, "--permanent", "--store", root).code == 0
    assert convstore("restore", ONE, "--store", root).code == 2


def test_what_another_process_writes_to_is_refused_unless_forced(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    with second_process(_OWN, root, ONE) as other:
        assert other.hear() == "open"
        ran = convstore("rename", ONE, "x", "--store", root)
        assert (ran.code, "is owned by convstore-" in ran.err) == (2, True)
        assert convstore("delete", ONE, "--store", root).code == 2
        assert convstore("delete", ONE, "--force", "--store", root).code == 0
    assert not path.exists()
