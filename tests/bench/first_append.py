"""The first append to a conversation, as a program that prints its milliseconds and the memory that it takes, as JSON.

python -m tests.bench.first_append ID OTHER      two conversations of CONVSTORE_STORE; OTHER is appended to before
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import orjson

from app import ConversationStore
from app.cli.options import make_settings
from app.model.ids import ConversationId, parse_conversation_id
from tests.bench.shapes import Json

EVENT: Json = {
    "source": "user",
    "llm_message": {"role": "user", "content": [{"type": "text", "text": "Add retry with jitter. " * 20}]},
    "kind": "MessageEvent",
}


async def measure(one: ConversationId, warm: ConversationId) -> dict[str, float]:
    """Return `ms`, `cpu_ms`, and `mb`, by which the peak of memory grows. `warm` is appended to before.

    The index is brought up to date first, as a server does when it starts.
    """
    async with ConversationStore.open(make_settings()) as store:
        await store.sync()
        await _append(store, warm)
        before_mb, began, cpu = _peak_mb(), time.perf_counter(), time.process_time()
        await _append(store, one)
        return {
            "ms": (time.perf_counter() - began) * 1000,
            "cpu_ms": (time.process_time() - cpu) * 1000,
            "mb": _peak_mb() - before_mb,
        }


async def _append(store: ConversationStore, one: ConversationId) -> None:
    async with store.writer(one) as conversation:
        await conversation.append(EVENT)


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    ids = [parse_conversation_id(text) for text in sys.argv[1:]]
    print(orjson.dumps(asyncio.run(measure(*ids))).decode())
