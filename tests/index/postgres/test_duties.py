"""A duty has one holder; it is free when its holder ends."""

from __future__ import annotations

import pytest

from app import Settings
from app.index import opening

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_a_duty_has_one_holder_and_is_free_after_it(settings: Settings) -> None:
    one, other = (opening.make_index(settings, readers=1) for _ in range(2))
    await one.make_ready(5)
    await other.make_ready(5)
    try:
        held = one.try_lock("duty")
        assert held is not None
        assert (one.holds_lock("duty"), one.try_lock("duty"), other.try_lock("duty")) == (True, None, None)
        held.release()
        assert other.try_lock("duty") is not None
        await other.close()  # what a killed process leaves is its connection's end
        assert one.try_lock("duty") is not None
    finally:
        await one.close()
