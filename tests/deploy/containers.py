"""What a container engine does, without one: builds an image from a Dockerfile, and runs commands confined.

A root file system is an overlay over this machine's own. So a base image is not downloaded: `FROM python:3.12-slim` is
this machine with `python` in /usr/local/bin. It needs root, and the programs unshare and setpriv.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.documents import ROOT

CAN_CONFINE = (
    os.geteuid() == 0
    and not ROOT.is_relative_to("/tmp")  # noqa: S108 - a container has a /tmp of its own, which would hide the checkout
    and not subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode
)
WHY_NOT = "NOT TRIED: only root can confine a process as a container engine does, and not of a checkout in /tmp"


class Step(NamedTuple):
    """An instruction of a Dockerfile, such as RUN, and its argument."""

    name: str
    argument: str


def read_stages(text: str) -> list[list[Step]]:
    """Return the steps of each stage."""
    plain = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    stages: list[list[Step]] = []
    for line in filter(None, map(str.strip, plain.splitlines())):
        step = Step(*line.split(maxsplit=1))
        if step.name == "FROM":
            stages.append([])
        stages[-1].append(step)
    return stages


@dataclass
class Container:
    """A root file system in `directory`, and what runs in it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        for name in ("changed", "work", "root"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)

    def confine(
        self,
        command: Sequence[str],
        *,
        user: str | None = None,
        volumes: Mapping[str, Path] | None = None,
        read_only: bool = False,
        before: str = ":",
    ) -> list[str]:
        """Return the command that runs another one in this container, after the shell commands in `before`.

        With `read_only`, nothing but the volumes can be written to, and not even /tmp.
        """
        root = shlex.quote(str(self.directory / "root"))
        lines = [
            f"cd {shlex.quote(str(self.directory))}",
            # Two mounts at once would make the same files in a common work directory, and fail
            "work=$(mktemp -d work/XXXXXX)",
            'mount -t overlay overlay -o "lowerdir=/,upperdir=changed,workdir=$work" root',
            f"mount --bind /proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs -o {'ro' if read_only else 'mode=1777'} tmpfs {root}/tmp",  # noqa: S108
        ]
        for place, source in (volumes or {}).items():
            lines += [f"mkdir -p {root}{place}", f"mount --bind {shlex.quote(str(source))} {root}{place}"]
        if read_only:
            lines.append(f"mount -o remount,ro {root}")
        uid = self.user if user is None else user
        inner = f'cd / && {before} && exec "$@"'
        drop = "" if uid == "0" else f"{shutil.which('setpriv')} --reuid={uid} --regid=0 --clear-groups --no-new-privs "
        lines.append(f"exec {shutil.which('chroot')} {root} {drop}sh -c {shlex.quote(inner)} sh {shlex.join(command)}")
        script = " && ".join(lines)
        return ["unshare", "--mount", "sh", "-c", script]

    def run(self, *command: str, **how: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with the environment of the image alone."""
        return subprocess.run(
            self.confine(command, **how),  # type: ignore[arg-type]
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def build(dockerfile: Path, context: Path, directory: Path, python: Path | str) -> Container:
    """Run each step of a Dockerfile, and return what its last stage made."""
    named: dict[str, Container] = {}
    for number, steps in enumerate(read_stages(dockerfile.read_text())):
        built = _start(directory / str(number), python)
        for step in steps:
            if step.name == "FROM":
                image, _, name = step.argument.partition(" AS ")
                assert image.startswith("python:3.12"), image
                named[name or str(number)] = built
            else:
                _apply(built, step, context, named)
    return built


def _start(directory: Path, python: Path | str) -> Container:
    container = Container(directory, {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"})
    bin_directory = directory / "changed/usr/local/bin"
    bin_directory.mkdir(parents=True)
    for name in ("python", "python3"):
        (bin_directory / name).symlink_to(os.path.realpath(python))
    opened = container.run("sh", "-c", "chmod a+x /root && python --version")
    assert opened.returncode == 0, opened.stderr
    return container


def _apply(built: Container, step: Step, context: Path, named: Mapping[str, Container]) -> None:
    match step.name:
        case "RUN":
            with _registry(built):
                done = built.run("sh", "-c", step.argument, user="0")
            assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        case "COPY":
            _copy(built, step.argument.split(), context, named)
        case "ENV":
            built.environment |= dict(part.split("=", 1) for part in shlex.split(step.argument))
        case "USER":
            built.user = step.argument
        case "EXPOSE":
            built.port = int(step.argument)
        case "CMD":
            built.command = json.loads(step.argument)
        case "HEALTHCHECK":
            built.health = json.loads(step.argument.partition("CMD ")[2])
        case _:
            raise AssertionError(f"the tests do not know the step {step.name}")


@contextmanager
def _registry(built: Container) -> Iterator[None]:
    """Let pip reach the registry as it does on this machine."""
    known = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
    before, built.environment = built.environment, known | built.environment
    try:
        yield
    finally:
        built.environment = before


def _copy(built: Container, arguments: list[str], context: Path, named: Mapping[str, Container]) -> None:
    *options, source, target = arguments
    place = built.directory / "changed" / target.lstrip("/")
    if options:
        [stage] = options
        origin = named[stage.removeprefix("--from=")].directory / "changed" / source.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", origin, place], check=True)
    else:
        assert source == "."
        shutil.copytree(context, place, ignore=_ignored(context), symlinks=True)


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file at the top of the context is left out by the lines of a .dockerignore."""
    left_out = False
    for pattern in patterns:
        if fnmatch(name, pattern.lstrip("!")):
            left_out = not pattern.startswith("!")
    return left_out


def read_ignored() -> list[str]:
    """Return the patterns of the checkout's .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _ignored(context: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202
    patterns = read_ignored()

    def choose(directory: str, names: list[str]) -> set[str]:
        at_top = Path(directory) == context
        everywhere = [pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")]
        return {name for name in names if is_ignored(name, patterns if at_top else everywhere)}

    return choose
