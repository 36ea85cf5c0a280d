"""GET /metrics for Prometheus: the metrics of `app.api.metrics`, and gauges of the index, which are read on request."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily

from ... import __version__
from ...errors import StoreError
from ...store.read.reader import StoreReader
from ..metrics import Metrics
from ..params import Store

router = APIRouter(tags=["server"])

_PHASES = ("metadata", "events", "text")
_US = 1e6


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def get_metrics(request: Request, store: Store) -> Response:
    """Return the metrics."""
    metrics: Metrics = request.app.state.metrics
    sizes = await asyncio.to_thread(store.index.measure_files)
    families = [*await _index_families(store), *(_gauge(name, "size of a file", size) for name, size in sizes.items())]
    return Response(metrics.render(families), media_type=CONTENT_TYPE_LATEST)


async def _index_families(store: StoreReader) -> list[GaugeMetricFamily]:
    """Return the gauges of the index, or only one gauge if the index does not answer."""
    info = _gauge("info", "this program", 1, version=__version__)
    try:
        progress, totals = await store.get_status()
    except StoreError:
        return [info, _gauge("index_up", "whether the index answers", 0)]
    phase = GaugeMetricFamily("convstore_sync_phase", "1 for the phase of the sync that is running", labels=["phase"])
    for name in _PHASES:
        phase.add_metric([name], progress.phase == name)
    swept = (progress.last_sweep_at or 0) / _US
    return [
        info,
        _gauge("index_up", "whether the index answers", 1),
        _gauge("conversations", "conversations in the index", totals.conversations),
        _gauge("conversations_unreadable", "conversations with unreadable files", totals.unreadable),
        _gauge("conversations_dirty", "conversations whose rows may be out of date", totals.behind),
        _gauge("index_revision", "a counter that rises with every change of the index", progress.revision),
        _gauge(
            "index_last_sweep_timestamp_seconds", "time of the last complete comparison with the files; 0: never", swept
        ),
        phase,
        _gauge("sync_done", "conversations that the running phase has read", progress.done),
        _gauge("sync_wanted", "conversations that the running phase must read", progress.total),
    ]


def _gauge(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"convstore_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
