"""The workspaces of the list's filter as a tree of directories, so that many working directories below one fold up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Directory:
    """A directory with the number of conversations in it and below it.

    `label` is its path below the parent. `own` is whether it is the working directory of a conversation itself.
    """

    path: str
    label: str
    number: int
    own: bool
    below: list[Directory] = field(default_factory=list)


def make_tree(counted: Iterable[tuple[str, int]]) -> list[Directory]:
    """Return the topmost directories, the most used first.

    A directory that only leads to one other is part of that one's label. If all lie in one directory, the tree
    begins below it. A path that does not begin with a slash stands alone.
    """
    root = Directory("/", "/", 0, own=False)
    found: dict[str, Directory] = {"": root}
    alone: list[Directory] = []
    for path, number in counted:
        if not path.startswith("/"):
            alone.append(Directory(path, path, number, own=True))
            continue
        names = path.rstrip("/").split("/")
        for depth in range(1, len(names) + 1):
            here = "/".join(names[:depth])
            if here not in found:
                found[here] = Directory(here, names[depth - 1], 0, own=False)
                found["/".join(names[: depth - 1])].below.append(found[here])
            found[here].number += number
        found["/".join(names)].own = True
    while len(root.below) == 1 and not root.own:
        root = root.below[0]
    top = [root] if root.own else root.below
    for one in top:
        one.label = one.path
    return _sort([*map(_merge, top), *alone])


def _merge(directory: Directory) -> Directory:
    """Return a directory merged with the only one below it, as often as possible, and its children merged likewise."""
    label = directory.label
    while len(directory.below) == 1 and not directory.own:
        [directory] = directory.below
        label = f"{label.rstrip('/')}/{directory.label}"
    directory.label = label
    directory.below = _sort(map(_merge, directory.below))
    return directory


def _sort(directories: Iterable[Directory]) -> list[Directory]:
    return sorted(directories, key=lambda one: (-one.number, one.path))
