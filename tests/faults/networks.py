"""Hosts in network namespaces of their own, and links to the database that can be cut. It needs root and `ip`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

from tests.postgres import is_running


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@cache
def can_separate() -> bool:
    """Whether this process may make network namespaces with links."""
    name = f"cvt{os.getpid()}"
    if os.geteuid() != 0:
        return False
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", f"{name}l", "type", "veth", "peer", "name", "there", "netns", name)
            _ip("link", "delete", f"{name}l")
        finally:
            _ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


WHY_NOT = "only root, with iproute2, can give hosts networks of their own and cut their links to PostgreSQL"


@dataclass
class Network:
    """The network of one host: where clients reach it, where it reaches the database, and how to run it there."""

    prefix: Sequence[str] = ()
    """The command that runs another command in this network."""
    address: str = "127.0.0.1"
    """The address of the host for clients."""
    database: str = "127.0.0.1"
    """The address of the database for the host."""
    link: str | None = None
    """The link to the database, or None if it cannot be cut."""

    def cut(self) -> None:
        """Let nothing pass between the host and the database. Nobody gets an error for what is sent."""
        self._set("down")

    def heal(self) -> None:
        """Let everything pass again."""
        self._set("up")

    def _set(self, state: str) -> None:
        assert self.link is not None
        _ip("link", "set", self.link, state)


def _remove_left_behind() -> None:
    """End the hosts of runs that were killed, and remove their networks."""
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    for name in re.findall(r"^cvt\d+(?:-\d+)?", listed, re.MULTILINE):
        if is_running(int(re.findall(r"\d+", name)[0])):
            continue
        inside = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True).stdout
        for process in inside.split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def networks(number: int) -> Iterator[list[Network]]:
    """Make networks for so many hosts. Where this is not possible, all hosts are in the network of this process."""
    if not can_separate():
        yield [Network() for _ in range(number)]
        return
    _remove_left_behind()
    made: list[Network] = []
    names = [f"cvt{os.getpid()}-{one}" for one in range(number)]
    subnet = f"10.{200 + os.getpid() % 50}"
    try:
        for one, name in enumerate(names):
            _ip("netns", "add", name)
            _ip("-netns", name, "link", "set", "lo", "up")
            links = (f"cvt{os.getpid()}c{one}", f"cvt{os.getpid()}d{one}")  # one for clients, one for the database
            for way, link in enumerate(links):
                _ip("link", "add", link, "type", "veth", "peer", "name", f"eth{way}", "netns", name)
                _ip("address", "add", f"{subnet}.{2 * one + way}.1/24", "dev", link)
                _ip("-netns", name, "address", "add", f"{subnet}.{2 * one + way}.2/24", "dev", f"eth{way}")
                _ip("link", "set", link, "up")
                _ip("-netns", name, "link", "set", f"eth{way}", "up")
            prefix = ("ip", "netns", "exec", name)
            made.append(Network(prefix, f"{subnet}.{2 * one}.2", f"{subnet}.{2 * one + 1}.1", links[1]))
        yield made
    finally:
        for name in names:  # with a namespace, its ends of the links go, and with them the other ends
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
