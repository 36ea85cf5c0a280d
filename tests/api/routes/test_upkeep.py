"""Doctor and disk usage over HTTP."""

from __future__ import annotations

from pathlib import Path

from app import Settings
from tests.builders import make_conversation, make_id, make_meta
from tests.conftest import serving


async def test_doctor_over_http_finds_what_the_command_finds(root: Path) -> None:
    make_conversation(root, 1)
    (root / make_id(1) / "base_state.json").write_text("{")
    async with serving(Settings(store=root)) as client:
        found = (await client.get("/api/doctor")).json()["items"]
    assert {"check", "level", "found", "advice"} == set(found[0])
    assert [one for one in found if one["level"] == "problem" and make_id(1)[:8] in one["found"]]


async def test_usage_by_month_has_the_sums_of_all(root: Path) -> None:
    for number, month in ((1, "2026-01"), (2, "2026-02"), (3, "2026-02")):
        make_conversation(root, number, meta=make_meta(make_id(number), updated_at=f"{month}-03T00:00:00"), events=0)
    async with serving(Settings(store=root, timezone="UTC")) as client:
        found = (await client.get("/api/usage")).json()
    by_month = {share["name"]: share["conversations"] for share in found["shares"]}
    assert by_month == {"2026-01": 1, "2026-02": 2}
    assert (
        sum(share["usage"]["disk_bytes"] for share in found["shares"]) == found["conversations"]["usage"]["disk_bytes"]
    )
    assert (found["groups"], found["conversations"]["conversations"]) == (2, 3)
    assert found["index"]["inodes"] > 0
