"""Reading a conversation that another process is writing to: what is read is of one moment."""

from __future__ import annotations

import time
from pathlib import Path

from app.files import layout
from app.model.event import gap_rows
from tests.builders import make_conversation, make_event, second_process, write_event

_LONG = 2000
"""Events of a log whose names take several looks of the system to list, and disks list them in no order."""

# Appends event after event, as agent-server does: a temporary file, which is then renamed.
APPEND = """
import os, sys
from pathlib import Path
from tests.builders import make_event, make_id

events, seq = Path(sys.argv[1]), int(sys.argv[2])
while True:
    event_id = make_event(seq)["id"]
    temporary = events / f".event-{seq}.tmp"
    temporary.write_text("{}")
    temporary.rename(events / f"event-{seq:05d}-{event_id}.json")
    if seq == int(sys.argv[2]):
        print("begun", flush=True)
    seq += 1
"""


def test_a_listing_has_no_event_without_those_before_it(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    for number in range(_LONG):
        (path / "events" / f"event-{number:05d}-{make_event(number)['id']}.json").touch()
    looks, gaps = 0, []
    with second_process(APPEND, path / "events", _LONG) as other, layout.open_directory(path / "events") as fd:
        assert other.hear() == "begun"
        until = time.monotonic() + 3
        while time.monotonic() < until:
            looks += 1
            gaps += gap_rows(layout.list_event_names(fd))
    assert (looks > 10, gaps) == (True, [])


def test_a_gap_that_there_is_is_listed(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=2)
    write_event(path, 5)
    with layout.open_directory(path / "events") as fd:
        assert [name.seq for name in layout.list_event_names(fd)] == [0, 1, 5]
