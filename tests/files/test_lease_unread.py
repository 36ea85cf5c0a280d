"""Leases that the system will not let be read, or shared, at the moment: nobody's are not what these are."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import WriteFailed
from app.files import lease, liveness
from app.files.layout import LAST_LEASE, LEASE
from tests.builders import make_conversation

ME = "convstore-me"


@contextmanager
def refused(monkeypatch: pytest.MonkeyPatch, number: int, *names: str, mode: int = os.O_RDONLY) -> Iterator[None]:
    """Opening files of these names fails."""
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path in names and flags & os.O_ACCMODE == mode:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        yield


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("names", [(LEASE,), (LEASE, LAST_LEASE)])
def test_a_lease_that_cannot_be_read_is_not_taken_from_its_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], number: int
) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        lease.claim(root, path.name, ME)
        theirs = {"owner_instance_id": "agent-server", "generation": 7, "expires_at": time.time() + 60}
        (path / LEASE).write_text(json.dumps(theirs))
        with refused(monkeypatch, number, *names), pytest.raises(WriteFailed, match="whose the conversation is"):
            lease.claim(root, path.name, ME)
    assert json.loads((path / LEASE).read_text()) == theirs


def test_an_owner_whose_lease_cannot_be_read_has_not_lost_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        mine = lease.claim(root, path.name, ME).lease
        with (
            refused(monkeypatch, errno.EMFILE, LEASE, LAST_LEASE),
            pytest.raises(WriteFailed, match="whose the conversation is"),
        ):
            lease.check_lease(root, path.name, mine)
        assert lease.check_lease(root, path.name, mine) == mine


def test_a_claim_that_cannot_be_shared_leaves_the_lease_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, ME):
        with refused(monkeypatch, errno.EMFILE, LAST_LEASE, mode=os.O_RDWR), pytest.raises(WriteFailed):
            lease.claim(root, path.name, ME, shared=True)
        assert lease.find_holder(root, path.name) is None
