"""The state of the store: the findings of doctor, and the disk usage of the conversations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, TypeAdapter
from starlette.datastructures import State

from ... import __version__
from ...settings import Settings
from ...store.admin.doctor import examine_store
from ...store.admin.findings import Finding, Level
from ...store.admin.usage import By, StoreUsage, measure
from ...store.read.reader import StoreReader
from ..error_responses import ErrorBody
from ..remembered import Remembered

router = APIRouter(prefix="/api", tags=["server"], responses={503: {"model": ErrorBody}})

_SAMPLE = 20
_DOCTOR_S = 15.0
_USAGE_S = 300.0
_LARGEST = 100


class FindingBody(BaseModel):
    """The result of one check. `advice` is the next step, or ""."""

    check: str
    level: Level
    found: str
    advice: str


class DoctorBody(BaseModel):
    """The findings of `convstore doctor`."""

    items: list[FindingBody]


class Disk(BaseModel):
    """Inodes, size in bytes, and bytes allocated on disk."""

    inodes: int
    size_bytes: int
    disk_bytes: int


class Share(BaseModel):
    """The disk usage of a group of conversations."""

    name: str
    conversations: int
    usage: Disk


class UsageBody(BaseModel):
    """The disk usage as in `convstore du --json`: the largest 100 groups, and the sums."""

    shares: list[Share]
    groups: int
    conversations: Share
    trash: Disk
    index: Disk
    other: Disk


_USAGE = TypeAdapter(UsageBody)


def install(state: State, settings: Settings) -> None:
    """Add the caches for these answers to the state of an application."""

    async def examine() -> list[Finding]:
        return [finding async for finding in examine_store(settings, __version__, sample=_SAMPLE)]

    def measuring(by: By) -> Remembered[StoreUsage]:
        async def work() -> StoreUsage:
            return await measure(cast(StoreReader, state.store), by, _LARGEST)

        return Remembered(work, _USAGE_S)

    state.findings = Remembered(examine, _DOCTOR_S)
    state.usage = {by: measuring(by) for by in By}


async def find_findings(request: Request) -> list[Finding]:
    """Return the findings of doctor, which may be 15 seconds old."""
    return await cast(Remembered[list[Finding]], request.app.state.findings).get()


def find_age_s(request: Request) -> float:
    """Return the age of the findings of doctor in seconds."""
    return cast(Remembered[list[Finding]], request.app.state.findings).age_s


async def find_usage(request: Request, by: By) -> StoreUsage:
    """Return the disk usage, which may be five minutes old."""
    return await cast(dict[By, Remembered[StoreUsage]], request.app.state.usage)[by].get()


@router.get("/doctor")
async def run_doctor(request: Request) -> DoctorBody:
    """Check the store for problems, as `convstore doctor` does. The answer may be 15 seconds old."""
    return DoctorBody(items=[FindingBody(**finding._asdict()) for finding in await find_findings(request)])


@router.get("/usage")
async def get_usage(
    request: Request,
    by: Annotated[By, Query(description="the field to group by; a month is that of the last update")] = By.MONTH,
) -> UsageBody:
    """Measure disk space and inodes, as `convstore du` does, without opening a file. It may be five minutes old."""
    return _USAGE.validate_python(asdict(await find_usage(request, by)))
