"""The hosts that share an index in PostgreSQL: which of them live, and the messages between their processes.

A host is one run of a convstore with all its workers, under the name with which it owns conversations. An index in
SQLite belongs to one machine and has no hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

Heard = Callable[[str], None]
"""Is called in the event loop with each message of a process."""

COMMITTED = "*"
"""The message after each transaction that wrote."""


class FoundHost(NamedTuple):
    """A host as the index knows it. Locks of files tell whether it lives only to processes with the same `boot`."""

    boot: str
    alive: bool


class Hosts(Protocol):
    """The hosts of an index, and this process's part in one of them."""

    @property
    def dead(self) -> bool:
        """Whether other hosts count this one as dead. It must then take another name."""

    def join(self, instance: str, boot: str) -> bool:
        """Be a process of the host `instance`, and keep telling that it lives. Return False if the host is dead.

        Raises:
            IndexUnusable: the server does not answer.
        """

    def find(self, instance: str) -> FoundHost | None:
        """Return a host, or None if it is unknown. One that has been silent for too long is dead from now on.

        Raises:
            IndexUnusable: the server does not answer.
        """

    def require_alive(self) -> None:
        """Check that no other host may count this one as dead now.

        Raises:
            HostSilent: this process has not reached the index for too long, or its host is dead.
        """

    def send(self, message: str) -> None:
        """Send a message to all processes that listen, this one too. It is lost if the server does not answer."""

    def listen(self, heard: Heard) -> None:
        """Call `heard` with each message from now on. Messages are lost while the server does not answer."""
