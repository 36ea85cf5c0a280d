"""How commands are registered: options that several commands share, and commands that are imported when they are used.

`convstore --help` imports no command, and a command imports only what it needs: SQLAlchemy, pydantic and FastAPI take
most of a second.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from ..trail import Act
from .command_trail import audited
from .entry import without_collector

Command = Callable[..., None]

EXIT_CODES = (
    "Exit codes: 0 success, 1 problems found (verify, check, doctor, repair), 2 wrong use, failure or answer no, "
    "130 interrupted, 141 output closed."
)

PYDANTIC_PREFIX = "Value error, "
"""The prefix that pydantic adds to a validator's message."""

_WIDTH_MAX = 120


@dataclass(frozen=True)
class OptionGroup:
    """Options that several commands have. Mark a parameter with `Annotated[Made, OptionGroup(make)]`.

    The command line gets the parameters of `make` as options, and the command gets the result of `make`. `at_end` names
    the options that come last in the help.
    """

    make: Callable[..., Any]
    at_end: tuple[str, ...] = ()


def add_command(
    app: typer.Typer, name: str, summary: str | None = None, *, act: Act | None = None, path: str | None = None
) -> Callable[[Command], Command]:
    """Register a command that may have option groups. The help is `summary`, or otherwise its docstring.

    A command with an `act` has a line in the audit trail, as `path` or else as `name`.
    """

    def registered(command: Command) -> Command:
        run = command if act is None else audited(act, path or name)(command)
        app.command(name, help=summary, epilog=EXIT_CODES)(_expand(run))
        return command

    return registered


def _expand(command: Command) -> Command:
    """Return a command with the options of its option groups as parameters, as Typer needs them."""
    parameters: list[inspect.Parameter] = []
    at_end: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        metadata = getattr(parameter.annotation, "__metadata__", ())
        group = next((one for one in metadata if isinstance(one, OptionGroup)), None)
        if group is None:
            parameters.append(parameter)
            continue
        options = inspect.signature(group.make, eval_str=True).parameters
        groups[parameter.name] = group.make, list(options)
        parameters += [option for name, option in options.items() if name not in group.at_end]
        at_end += [options[name] for name in group.at_end]
    keywords = [one.replace(kind=one.KEYWORD_ONLY) for one in (*parameters, *at_end)]

    def expanded(**given: Any) -> None:  # noqa: ANN401 - as the options say
        for name, (make, options) in groups.items():
            given[name] = make(**{option: given.pop(option) for option in options})
        command(**given)

    vars(expanded)["__signature__"] = inspect.Signature(keywords)
    expanded.__annotations__ = {one.name: one.annotation for one in keywords}
    expanded.__doc__, expanded.__name__ = command.__doc__, command.__name__
    return expanded


def make_group(summary: str, *, cls: type[TyperGroup] = TyperGroup, add_completion: bool = False) -> typer.Typer:
    """Return an empty group of commands. Help and errors are plain text, because rich takes 0.1 s to import."""
    return typer.Typer(
        cls=cls,
        help=summary,
        epilog=EXIT_CODES if add_completion else None,
        no_args_is_help=True,
        add_completion=add_completion,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDTH_MAX},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


class Place(NamedTuple):
    """Where a command is: the module in this package, the first line of its help, and its act in the audit trail.

    The module has a function `NAME_command`, or a group `app` of commands.
    """

    module: str
    summary: str
    act: Act | None = None


class LazyCommands(Mapping[str, Any]):
    """The commands of a table, by name. Each is imported when it is asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - by its version, typer has click inside or beside it
        """Import a command."""
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._places[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names. This imports nothing."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of commands."""
        return len(self._places)


def _load(name: str, place: Place) -> Any:  # noqa: ANN401
    with without_collector():
        module = import_module(f".{place.module}", __package__)
    command = getattr(module, f"{name}_command", None)
    if command is None:
        group = typer.main.get_command(module.app)
        group.name = name
        return group
    alone = make_group(place.summary)
    # `convstore restore` is also `convstore trash restore`
    told = inspect.cleandoc(command.__doc__).replace(f"convstore trash {name}", f"convstore {name}")
    add_command(alone, name, told, act=place.act)(command)
    return typer.main.get_command(alone)
