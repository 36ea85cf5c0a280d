"""Long texts of an event are cut in the middle until it fits."""

from __future__ import annotations

import orjson
import pytest

from app.model.text.cut_texts import cut_texts, fit_event

EVENT = {"id": "an-id", "content": [{"text": "a" * 3000}, {"text": "b" * 500}], "command": "ls", "number": 5}


def test_longer_texts_at_any_depth_lose_their_middle() -> None:
    value = orjson.loads(orjson.dumps(EVENT))
    assert cut_texts(value, 1000) == 3000 - 1003
    assert value == EVENT | {"content": [{"text": f"{'a' * 500}\n…\n{'a' * 500}"}, {"text": "b" * 500}]}


@pytest.mark.parametrize("at_most", [600, 1000, 2000, 3000])
def test_an_event_has_at_most_so_many_bytes(at_most: int) -> None:
    fitted = fit_event(orjson.dumps(EVENT), at_most)
    assert len(fitted) <= at_most
    shown = orjson.loads(fitted)
    assert (shown["id"], shown["command"], shown["number"]) == ("an-id", "ls", 5)
    assert shown["content"][0]["text"].count("…") == 1


def test_an_event_that_fits_is_as_it_was_and_short_texts_are_never_cut() -> None:
    raw = orjson.dumps(EVENT)
    assert fit_event(raw, len(raw)) is raw
    short = orjson.dumps({"texts": ["x" * 200] * 10})
    assert fit_event(short, 10) == short
