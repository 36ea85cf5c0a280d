"""`python -m tests.soak.outside KIND STORE SEED`: another program that writes into the directory, until it is killed.

`library` appends with convstore itself and prints each acknowledged event; `files` writes files as other programs do.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import time
import uuid
from pathlib import Path

from app import ConversationStore, Settings
from app.errors import StoreError
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id, write_event

_REST_S = 0.05
_MANY = 20


async def library(root: Path, seed: int) -> None:
    """Append to conversations of its own; those of a killed one before it, too."""
    dice = random.Random(seed)  # noqa: S311
    async with ConversationStore.open(Settings(store=root)) as store:
        while True:
            conversation_id = ConversationId(make_id(dice.randrange(_MANY) + 50_000))
            try:
                await store.create(
                    {
                        "conversation_id": conversation_id,
                        "agent": {"llm": {"model": "a/model"}},
                        "workspace": {"working_dir": "/home/dev"},
                    }
                )
                async with store.writer(conversation_id) as conversation:
                    event = make_event(0, id=str(uuid.uuid4()))
                    await conversation.append(event)
                    print(f"{conversation_id} {event['id']}", flush=True)
            except StoreError as error:
                print(f"! {error.code} {error}", flush=True)
            await asyncio.sleep(_REST_S)


def files(root: Path, seed: int) -> None:
    """Make conversations, append to them and take them away, as a program does that knows nothing of convstore."""
    dice = random.Random(seed)  # noqa: S311
    while True:
        one = 60_000 + dice.randrange(_MANY)
        directory = root / make_id(one)
        if not directory.exists():
            make_conversation(root, one, events=1)
        elif dice.random() < 0.1:
            gone = root / f".gone-{uuid.uuid4().hex}"
            directory.rename(gone)
            shutil.rmtree(gone)
        else:
            place = len(list((directory / "events").glob("event-*.json")))
            write_event(directory, place, make_event(place, id=str(uuid.uuid4())))
        time.sleep(_REST_S)


if __name__ == "__main__":
    if sys.argv[1] == "library":
        asyncio.run(library(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        files(Path(sys.argv[2]), int(sys.argv[3]))
