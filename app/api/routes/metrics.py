"""GET /metrics for Prometheus: the metrics of `app.api.metrics`, and gauges of the index, which are read on request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily

from ... import __version__
from ...errors import StoreError
from ...model.facets import Facet, FacetKind
from ...model.filters import ConversationFilter, Status
from ...settings import Settings
from ...store.read.reader import StoreReader
from ..metrics import Metrics
from ..params import Store

router = APIRouter(tags=["server"])

_PHASES = ("metadata", "events", "text")
_US = 1e6
_BY_STATUS = Facet(FacetKind.STATUS)
_ALL = ConversationFilter(archived=None, subagents=None)
_NO_STATUS: dict[str, float] = dict.fromkeys(Status, 0)
_STATUSES_MAX = 50


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def get_metrics(request: Request, store: Store) -> Response:
    """Return the metrics."""
    metrics: Metrics = request.app.state.metrics
    sizes = await asyncio.to_thread(store.index.measure_files)
    families = [
        *await _index_families(store),
        *(_gauge(name, "size of a file", size) for name, size in sizes.items()),
        *await asyncio.to_thread(_room_families, store.settings),
    ]
    return Response(metrics.render(families), media_type=CONTENT_TYPE_LATEST)


async def _index_families(store: StoreReader) -> list[GaugeMetricFamily]:
    """Return the gauges of the index, or only one gauge if the index does not answer."""
    info = _gauge("info", "this program", 1, version=__version__)
    try:
        progress, totals = await store.get_status()
        statuses = dict((await store.count_facets([_BY_STATUS], _ALL, limit=_STATUSES_MAX)).by[_BY_STATUS.name].values)
    except StoreError:
        return [info, _gauge("index_up", "whether the index answers", 0)]
    phases = {name: progress.phase == name for name in _PHASES}
    swept = (progress.last_sweep_at or 0) / _US
    return [
        info,
        _gauge("index_up", "whether the index answers", 1),
        _gauge("conversations", "conversations in the index", totals.conversations),
        _gauges("conversations_by_status", "conversations by execution status", "status", _NO_STATUS | statuses),
        _gauge(
            "conversations_waiting",
            "conversations in which an agent waits for a person's confirmation",
            statuses.get(Status.WAITING_FOR_CONFIRMATION, 0),
        ),
        _gauge("conversations_unreadable", "conversations with unreadable files", totals.unreadable),
        _gauge("conversations_dirty", "conversations whose events and texts may not all be indexed", totals.behind),
        _gauge("index_revision", "a counter that rises with every change of the index", progress.revision),
        _gauge(
            "index_last_sweep_timestamp_seconds", "time of the last complete comparison with the files; 0: never", swept
        ),
        _gauges("sync_phase", "1 for the phase of the sync that is running", "phase", phases),
        _gauge("sync_done", "conversations that the running phase has read", progress.done),
        _gauge("sync_wanted", "conversations that the running phase must read", progress.total),
    ]


def _room_families(settings: Settings) -> list[GaugeMetricFamily]:
    """Return the gauges of the free room on the disks of the store and the index.

    A disk that does not answer has no value. Nor has one without a fixed number of inodes, such as btrfs.
    """
    free_bytes, free_inodes = {}, {}
    for place, path in (("store", settings.root), ("index", settings.state_dir)):
        try:
            disk = os.statvfs(path)
        except OSError:
            continue
        free_bytes[place] = disk.f_bavail * disk.f_frsize
        if disk.f_files:
            free_inodes[place] = disk.f_favail
    return [
        _gauges("free_bytes", "free bytes on the disk of the store and of the index", "place", free_bytes),
        _gauges("free_inodes", "free inodes on the disk of the store and of the index", "place", free_inodes),
    ]


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"convstore_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _gauge(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"convstore_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
