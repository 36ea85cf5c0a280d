"""Samples, and taking them in turn: what is compared is measured in alternation, since a machine's speed drifts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Sample:
    """What repeated measurements of one thing gave, in the row's unit."""

    min: float
    median: float
    max: float
    number: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Sample:
        """Return the sample of at least one value."""
        known = list(values)
        return cls(min(known), median(known), max(known), len(known))


def take_turns(calls: Mapping[str, Callable[[], object]], *, blocks: int, each: int) -> dict[str, Sample]:
    """Return the milliseconds of every call: `each` of the first, `each` of the second and so on, `blocks` times."""
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(each):
            call()
    for _ in range(blocks):
        for name, call in calls.items():
            for _ in range(each):
                began = perf_counter()
                call()
                times_ms[name].append((perf_counter() - began) * 1000)
    return {name: Sample.of(times) for name, times in times_ms.items()}


def rate_in_turns(calls: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Sample]:
    """Return what every call returns, called in turn `rounds` times, after one round that does not count."""
    values: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            value = call()
            if number:
                values[name].append(value)
    return {name: Sample.of(found) for name, found in values.items()}
