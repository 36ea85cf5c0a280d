"""What other programs do in a conversations directory, at random."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.builders import make_conversation, make_event, make_meta, make_state, write_event

SOME = 40
"""Half of so many conversations are always there."""


class OtherPrograms:
    """What agent-server, the CLI, backup tools and people do in a conversations directory."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._dice = random.Random(seed)  # noqa: S311
        self._away = root.parent / "away"
        self._away.mkdir()
        self._made = 0
        self.done: dict[str, int] = {}

    def edit(self) -> None:
        """Do one thing."""
        there = sorted(path for path in self._root.iterdir() if (path / "meta.json").exists())
        chosen = self._dice.choice(self.EDITS) if len(there) > SOME // 2 else OtherPrograms.create
        chosen(self, self._dice.choice(there) if there else self._root)
        self.done[chosen.__name__] = self.done.get(chosen.__name__, 0) + 1

    def create(self, _: Path) -> None:
        self._made += 1
        times = {"updated_at": "2020-01-01T00:00:00Z"} if self._dice.random() < 0.7 else {}
        make_conversation(self._root, self._made, meta=times, events=self._dice.randrange(4))

    def append(self, directory: Path) -> None:
        number = len(list((directory / "events").glob("event-*.json")))
        write_event(directory, number, make_event(self._dice.randrange(10**6)))

    def replace_with_the_same_size(self, directory: Path) -> None:
        """As bug 29: the same size, and the same mtime."""
        state = directory / "base_state.json"
        if not state.exists():
            return
        before = state.stat()
        fresh = directory / ".base_state.json.x.tmp"
        status = self._dice.choice(["paused", "finished", "stuck", "idle"])
        fresh.write_text(json.dumps(make_state(directory.name, execution_status=status)).ljust(before.st_size))
        os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
        fresh.replace(state)

    def rewrite_meta_in_place(self, directory: Path) -> None:
        title = f"title {self._dice.randrange(100)}"
        (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title=title)))

    def rewrite_state_in_place(self, directory: Path) -> None:
        status = self._dice.choice(["running", "error", "paused"])
        (directory / "base_state.json").write_text(json.dumps(make_state(directory.name, execution_status=status)))

    def tear(self, directory: Path) -> None:
        name = self._dice.choice(["meta.json", "base_state.json"])
        (directory / name).write_bytes(b'{"id": "to')

    def move_away(self, directory: Path) -> None:
        directory.rename(self._away / directory.name)

    def move_back(self, _: Path) -> None:
        gone = sorted(self._away.iterdir())
        one = self._dice.choice(gone) if gone else None
        if one is not None and not (self._root / one.name).exists():
            one.rename(self._root / one.name)

    def delete(self, directory: Path) -> None:
        shutil.rmtree(directory)

    def change_mode(self, directory: Path) -> None:
        (directory / "meta.json").chmod(self._dice.choice([0o600, 0o644, 0o640]))

    def copy_over(self, directory: Path) -> None:
        """`cp -p`: the content of another one's file, with its old times."""
        others = sorted(path for path in self._root.iterdir() if (path / "meta.json").exists())
        source = self._dice.choice(others) / "meta.json"
        if source.parent != directory:
            subprocess.run(["cp", "-p", source, directory / "meta.json"], check=True)

    def set_the_clock_back(self, directory: Path) -> None:
        """What is written while the clock is wrong: the time of the file lies years back, or ahead."""
        self.rewrite_meta_in_place(directory)
        then = time.time() + self._dice.choice([-10, -1e8, 5, 1e6])
        os.utime(directory / "meta.json", (then, then))

    def leave_a_ghost(self, directory: Path) -> None:
        """agent-server's lock files bring back a directory that somebody moved away."""
        self.move_away(directory)
        (directory / "events").mkdir(parents=True)
        (directory / ".owner_lease.lock").touch()
        (directory / "events" / ".eventlog.lock").touch()

    EDITS: tuple[Callable[[OtherPrograms, Path], None], ...] = (
        create, append, append, replace_with_the_same_size, rewrite_meta_in_place, rewrite_state_in_place, tear,
        move_away, move_back, move_back, delete, change_mode, copy_over, set_the_clock_back, leave_a_ghost,
    )  # fmt: skip


def on_disk(root: Path) -> set[str]:
    """Return the names of the directories that are conversations."""
    return {
        path.name
        for path in root.iterdir()
        if len(path.name) == 32 and any(inner.suffix == ".json" for inner in path.rglob("*.json"))
    }
