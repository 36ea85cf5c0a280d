"""Any question is answered, in time: a small part of what `make questions` asks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app import Settings
from tests.api.routes.test_messages import ask_at_random
from tests.conftest import serving

pytestmark = pytest.mark.long

NUMBER = int(os.environ.get("CONVSTORE_TEST_QUESTIONS", "1000"))
SEED = int(os.environ.get("CONVSTORE_TEST_SEED", "1"))


async def test_random_questions_are_answered_and_none_takes_a_second(corpus: Path) -> None:
    async with serving(Settings(store=corpus)) as client:
        longest = await ask_at_random(client, NUMBER, SEED)
    assert longest < 1
    print(f"{NUMBER:,} questions, the longest {longest * 1000:.0f} ms")
