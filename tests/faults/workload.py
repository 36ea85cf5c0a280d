"""Several processes that write to shared conversations at once, killed at random, and what must hold afterwards.

Each of them says on a common pipe what it is about to do, and what was acknowledged; what was said outlives it. With
`python -m tests.faults.workload` one process imports everything and forks the others; it holds no lock and no thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from app import ConversationStore, Settings
from app.errors import StoreError
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event

CONVERSATIONS = 24
_MOST = 60
_OPEN_EACH = 1
_CHECKOUT = Path(__file__).parents[2]
_REFUSALS = frozenset(
    {
        "conversation_owned",
        "ownership_lost",
        "conversation_not_found",
        "conversation_exists",
        "not_in_trash",
        "event_not_found",
    }
)
"""What another process may be the reason for."""

Said = dict[str, Any]
Act = Callable[[ConversationStore, ConversationId, Random], Awaitable[None]]


def make_store(root: Path) -> None:
    """Write the conversations that the processes share."""
    for number in range(1, CONVERSATIONS + 1):
        make_conversation(root, number, state={"leaf_event_id": make_event(1)["id"]})


def _say(**said: Any) -> None:
    os.write(1, json.dumps({"pid": os.getpid(), **said}).encode() + b"\n")


async def _append(store: ConversationStore, one: ConversationId, dice: Random) -> None:
    events = [make_event(dice.randrange(1000), id=str(uuid4())) for _ in range(dice.choice([1, 1, 1, 4]))]
    ids = [event["id"] for event in events]
    _say(do="append", id=one, events=ids)
    async with store.writer(one) as conversation:
        done = await conversation.append_batch(events)
        _say(done="append", id=one, events=ids, seqs=[each.seq for each in done])


async def _rename(store: ConversationStore, one: ConversationId, _dice: Random) -> None:
    title = f"renamed {uuid4()}"
    _say(do="rename", id=one, title=title)
    async with store.writer(one) as conversation:
        await conversation.set_title(title)
        _say(done="rename", id=one, title=title)


async def _fork(store: ConversationStore, one: ConversationId, _dice: Random) -> None:
    made = ConversationId(uuid4().hex)
    _say(do="fork", id=made)
    await store.fork(one, fork_id=made)
    _say(done="fork", id=made)


async def _delete(store: ConversationStore, one: ConversationId, _dice: Random) -> None:
    _say(do="delete", id=one)
    await store.delete(one)
    _say(done="delete", id=one)


async def _restore(store: ConversationStore, _one: ConversationId, dice: Random) -> None:
    entries, _ = await store.list_trash(0, None)
    if entries:
        one = dice.choice(entries)[0].id
        _say(do="restore", id=one)
        await store.restore(one)
        _say(done="restore", id=one)


_ACTS: dict[Act, int] = {_append: 60, _rename: 15, _fork: 8, _delete: 8, _restore: 9}


async def _work(root: Path, seed: int) -> None:
    """Do one change after the other, until killed."""
    dice = Random(seed)  # noqa: S311
    async with ConversationStore.open(Settings(store=root, open_conversations=_OPEN_EACH, idle_s=0)) as store:
        while True:
            ids = await store.list_ids(ConversationFilter())
            [act] = dice.choices(list(_ACTS), list(_ACTS.values()))
            act = _delete if len(ids) > _MOST else act
            try:
                await act(store, dice.choice(ids), dice)
            except StoreError as error:
                if error.code not in _REFUSALS:
                    raise
                _say(refused=error.code)


class Workload:
    """Processes that write to the conversations under `root`, and all that they ever said."""

    def __init__(self, root: Path, *, processes: int = 4, seed: int = 0) -> None:
        self.root = root
        self.said: list[Said] = []
        self._dice = Random(seed)  # noqa: S311
        self._wanted = processes
        self._running: list[int] = []
        self._heard = threading.Condition()

    def __enter__(self) -> Self:
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.workload"],
            cwd=_CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ear = threading.Thread(target=self._hear)
        self._ear.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()
        assert self._forker.stdin is not None
        self._forker.stdin.close()
        self._forker.wait()
        self._ear.join()
        assert self._forker.stdout is not None
        self._forker.stdout.close()

    def _hear(self) -> None:
        assert self._forker.stdout is not None
        for line in self._forker.stdout:
            with self._heard:
                self.said.append(json.loads(line))
                self._heard.notify_all()

    def start(self) -> None:
        """Start processes until as many run as are wanted."""
        assert self._forker.stdin is not None
        while len(self._running) < self._wanted:
            begin = len(self.said)
            self._forker.stdin.write(f"{self._dice.randrange(2**32)}\t{self.root}\n")
            self._forker.stdin.flush()
            with self._heard:
                self._heard.wait_for(lambda: any("forked" in said for said in self.said[begin:]), 30)  # noqa: B023
            self._running += [said["forked"] for said in self.said[begin:] if "forked" in said]

    def kill(self) -> None:
        """Kill one of the processes, at random, as a power cut would, and wait until it is gone."""
        pid = self._running.pop(self._dice.randrange(len(self._running)))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)

    def kill_all(self) -> None:
        """Kill all processes that run."""
        while self._running:
            self.kill()

    def storm(self, kills: int, *, longest_s: float = 0.8) -> None:
        """Kill one process after the other at random moments, starting another in its place."""
        for _ in range(kills):
            self.start()
            time.sleep(self._dice.uniform(0.0, longest_s))
            self.kill()
        self.kill_all()

    @property
    def counted(self) -> Counter[str]:
        """How many changes of each kind were acknowledged, refused, or went wrong."""
        counted = Counter(f"{said['done']}" for said in self.said if "done" in said)
        return counted + Counter("refused" for said in self.said if "refused" in said)

    @property
    def crashes(self) -> list[str]:
        """What processes that ended by themselves said."""
        return [said["crashed"] for said in self.said if "crashed" in said]


def _serve() -> None:
    """Fork a process for each line until there is none."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        seed, _, root = line.rstrip("\n").partition("\t")
        pid = os.fork()
        if pid:
            _say(forked=pid)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            asyncio.run(_work(Path(root), int(seed)))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            _say(crashed="".join(traceback.format_exception(error))[-3000:])
        os._exit(1)


if __name__ == "__main__":
    _serve()
