"""Prometheus' own tool finds nothing wrong with the metrics."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from app import Settings
from tests.builders import make_conversation
from tests.conftest import serving


def check(text: str) -> tuple[int, str]:
    ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


async def test_promtool_finds_nothing_wrong_with_the_metrics(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        text = (await client.get("/metrics")).text
    assert await asyncio.to_thread(check, text) == (0, "")
