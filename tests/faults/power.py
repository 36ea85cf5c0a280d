"""`python -m tests.faults.power`: cut the power of a disk under writers, and look for all that was acknowledged.

A file system on a loop device is shut down without its journal being written, by the ioctl that ext4 and xfs have for
such tests: what was not fsynced is gone. Mounted again, it recovers as after a real cut.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from app import ConversationStore, Settings
from app.errors import StoreError
from app.files import layout
from app.index.sqlite import migrations
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id
from tests.faults.operations import settle_clock
from tests.faults.power_writer import WRITERS

KINDS = {"ext4": "64M", "xfs": "320M"}
"""The file systems, and the least that they like to have."""

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, u32)
_WITHOUT_LOG = 2
_CHECKOUT = Path(__file__).parents[2]
_CUTS_A_DISK = 25


class Disk:
    """A file system in a file, mounted."""

    def __init__(self, image: Path, mounted: Path, kind: str) -> None:
        self.path = mounted
        self._image = image
        image.touch()
        os.truncate(image, int(KINDS[kind].rstrip("M")) << 20)
        mounted.mkdir()
        _run(f"mkfs.{kind}", "-q", str(image))
        self.mount()

    def mount(self) -> None:
        """Mount it, which recovers it after a cut."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Unmount it; nothing may have a file on it open."""
        _run("umount", str(self.path))

    def cut(self) -> None:
        """Cut the power: nothing is written to the disk from now on."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG))
        finally:
            os.close(descriptor)

    def flush(self) -> None:
        """Write everything to the disk."""
        _run("sync", "-f", str(self.path))


@contextmanager
def disk_of(kind: str, directory: Path) -> Iterator[Disk]:
    """Make a disk.

    Raises:
        OSError: it cannot be made or mounted here.
    """
    with tempfile.TemporaryDirectory(dir=directory) as name:
        disk = Disk(Path(name, "image"), Path(name, "disk"), kind)
        try:
            yield disk
        finally:
            disk.unmount()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Told(NamedTuple):
    """A write that was begun, and whether it was acknowledged."""

    kind: str
    id: str
    value: str
    done: bool


def cut_once(disk: Disk, template: Path, seed: int) -> tuple[int, list[str]]:
    """Cut the power once under a writer; return how many writes were acknowledged, and what is wrong afterwards."""
    root = disk.path / f"store-{seed}"
    (root / ".convstore").mkdir(parents=True)
    shutil.copyfile(template, root / ".convstore" / "index.db")
    for number in range(1, WRITERS + 1):
        make_conversation(root, number, events=0)
    disk.flush()
    command = [sys.executable, "-m", "tests.faults.power_writer", str(root), str(seed)]
    with subprocess.Popen(
        command, cwd=_CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.02, 1.2))  # noqa: S311
        writer.kill()  # before the disk: xfs says that the fsync of a directory which comes after the cut is done
        writer.wait()
        disk.cut()
        told = _parse(writer.stdout.read())
    disk.unmount()
    disk.mount()
    wrong = _look(root, told) if first == "ready\n" else ["the writer did not begin"]
    shutil.rmtree(root)
    return sum(one.done for one in told), wrong


def _look(root: Path, told: list[Told]) -> list[str]:
    try:
        return asyncio.run(_find_wrong(root, told))
    except StoreError as error:
        return [f"{type(error).__name__}: {error}"]


def _parse(output: str) -> list[Told]:
    begun: dict[str, list[str]] = {}
    done = set()
    for line in output.splitlines():
        word, number, *rest = line.split()
        if word == "begin":
            begun[number] = rest
        else:
            done.add(number)
    return [Told(kind, one, value, number in done) for number, (kind, one, value) in begun.items()]


async def _find_wrong(root: Path, told: list[Told]) -> list[str]:
    """Open the store as after a crash and compare it with what was told."""
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        for number in range(1, WRITERS + 1):
            async with store.writer(ConversationId(make_id(number))):
                pass
        wrong = [str(difference) for difference in await store.verify()]
        listed = {info["id"]: info for info in map(orjson.loads, (await store.list_conversations()).items)}
        wrong += _wrong_presence(listed.keys(), told)
        for number in range(1, WRITERS + 1):
            conversation_id = ConversationId(make_id(number))
            title = listed[dashed(conversation_id)]["title"]
            mine = [one for one in told if one.id == conversation_id]
            wrong += _wrong_title(title, [one for one in mine if one.kind == "title"])
            there = await _event_ids(store, conversation_id)
            wrong += _wrong_events(there, [one for one in mine if one.kind == "append"])
            wrong += _wrong_head(root / conversation_id, there)
    return wrong


def _wrong_head(path: Path, there: list[str]) -> list[str]:
    """Whether HEAD is the last event, after the conversation was opened: each writer goes on from its last event.

    A base_state.json that names no HEAD is right: then HEAD is the last event.
    """
    head = orjson.loads((path / layout.STATE).read_bytes()).get("leaf_event_id")
    return [] if head in (None, *there[-1:]) else [f"HEAD is {head}, and the log ends with {there[-1:]}"]


async def _event_ids(store: ConversationStore, conversation_id: ConversationId) -> list[str]:
    found, token = [], None
    while True:
        page = await store.list_events(conversation_id, page_id=token)
        found += [str(orjson.loads(event)["id"]) for event in page.items]
        token = page.next_page_id
        if token is None:
            return found


def _wrong_presence(listed: object, told: list[Told]) -> list[str]:
    """Whether what was created, deleted or restored last is so, unless a later write was under way."""
    last = {one.id: one for one in told if one.kind in ("create", "delete", "restore")}
    assert isinstance(listed, type({}.keys()))
    return [
        f"{one.id}: {one.kind} was acknowledged, listed: {dashed(ConversationId(one.id)) in listed}"
        for one in last.values()
        if one.done and (dashed(ConversationId(one.id)) in listed) is (one.kind == "delete")
    ]


def _wrong_title(title: str, told: list[Told]) -> list[str]:
    acknowledged = [one.value for one in told if one.done][-1:] or ["A title"]
    under_way = [one.value for one in told if not one.done]
    return [] if title in acknowledged + under_way else [f"the title is {title}, not {acknowledged}"]


def _wrong_events(there: list[str], told: list[Told]) -> list[str]:
    acknowledged = [event for one in told if one.done for event in one.value.split(",")]
    begun = [event for one in told for event in one.value.split(",") if event]
    lost = sorted(set(acknowledged) - set(there))
    if there[: len(acknowledged)] == acknowledged and there == begun[: len(there)]:
        return []
    return [f"of {len(acknowledged)} acknowledged events {len(lost)} are lost: {lost}; there: {there}"]


def run(directory: Path, kind: str, cuts: int, seed: int = 1, *, loud: bool = False) -> tuple[Counter[str], list[str]]:
    """Cut the power of a disk so many times; return what was counted, and what was wrong.

    Raises:
        OSError: there can be no such disk here.
    """
    settle_clock()
    template = directory / f"{kind}.db"
    migrations.upgrade(template)
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for begin in range(0, cuts, _CUTS_A_DISK):
        with disk_of(kind, directory) as disk:
            for number in range(begin, min(begin + _CUTS_A_DISK, cuts)):
                writes, found = cut_once(disk, template, seed + number)
                counted += Counter(cuts=1, writes=writes)
                told = [f"{kind}, seed {seed + number}: {one}" for one in found]
                wrong += told
                if loud and told:
                    print("\n".join(told), flush=True)
    return counted, wrong


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=__doc__)
    parser.add_argument("--cuts", type=int, default=100, help="how many on each file system; default 100")
    parser.add_argument("--only", choices=list(KINDS), help="only this file system")
    parser.add_argument("--seed", type=int, default=1, help="where to begin; default 1")
    asked = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="convstore-power-") as name:
        for kind in [asked.only] if asked.only else KINDS:
            try:
                counted, wrong = run(Path(name), kind, asked.cuts, asked.seed, loud=True)
            except OSError as error:
                print(f"NOT TRIED on {kind}: {error}")
                continue
            print(f"{kind}: {counted['cuts']} cuts, {counted['writes']} acknowledged writes; {len(wrong)} wrong")
            failed = failed or bool(wrong)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
