"""Answers that are kept for a while."""

from __future__ import annotations

import asyncio

import pytest

from app.api.remembered import Remembered


async def test_an_answer_is_made_once_for_all_who_ask_and_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now, made = [0.0], []

    async def make() -> int:
        await asyncio.sleep(0)
        made.append(1)
        return len(made)

    monkeypatch.setattr("app.api.remembered.time.monotonic", lambda: now[0])
    kept = Remembered(make, 10)
    assert list(await asyncio.gather(kept.get(), kept.get())) == [1, 1]
    now[0] = 9
    assert await kept.get() == 1
    now[0] = 20
    assert await kept.get() == 2


async def test_an_error_is_not_kept() -> None:
    results = iter([ValueError("once"), 7])

    async def make() -> int:
        found = next(results)
        if isinstance(found, ValueError):
            raise found
        assert isinstance(found, int)
        return found

    kept = Remembered(make, 10)
    with pytest.raises(ValueError, match="once"):
        await kept.get()
    assert await kept.get() == 7
