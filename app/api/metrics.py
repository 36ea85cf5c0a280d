"""GET /metrics, for Prometheus: what this server did, and how its index is.

What is counted while it happens (requests, commits, syncs) is prometheus-client's; what the index or the file system
knows is asked for when somebody looks. Several workers of one server share a directory, which `serve` names in
PROMETHEUS_MULTIPROC_DIR, and each of them answers for all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from functools import lru_cache

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app import __version__
from app.api.parameters import Store
from app.errors import StoreError
from app.index.sqlite import index_file
from app.store.read.reader import StoreReader

router = APIRouter(tags=["server"])

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_SYNC_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_PHASES = ("metadata", "events", "text")
_US = 1e6


class Metrics:
    """What one application counts."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "convstore_requests", "HTTP requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "convstore_request_seconds",
            "time from a request to the beginning of its answer",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._work = {
            what: Histogram(f"convstore_{what}_seconds", text, buckets=buckets, registry=self.registry)
            for what, text, buckets in (
                ("commit", "write transactions of the index, without the wait for its lock", _WORK_BUCKETS),
                ("lock_wait", "waiting for the lock that all writers of the index share", _WORK_BUCKETS),
                ("sync", "comparisons of the whole index with the directory, backfills included", _SYNC_BUCKETS),
            )
        }
        ProcessCollector(registry=self.registry)
        self.request = lru_cache(maxsize=1024)(self._request)

    def _request(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return the counter and the histogram of such requests."""
        return self._requests.labels(method, route, str(status)), self._seconds.labels(route)

    def note(self, what: str, seconds: float) -> None:
        """Count one piece of the store's work."""
        self._work[what].observe(seconds)

    def render(self, families: Iterable[GaugeMetricFamily]) -> bytes:
        """Return all that was counted, by all workers of this server, and `families`."""
        counted = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        now = CollectorRegistry()
        now.register(_Given(families))
        return generate_latest(counted) + generate_latest(now)


class _Given(Collector):
    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def get_metrics(request: Request, store: Store) -> Response:
    """Return what Prometheus collects."""
    metrics: Metrics = request.app.state.metrics
    sizes = await asyncio.to_thread(index_file.measure_files, store.index.path)
    families = [*await _index_families(store), *(_gauge(name, "size of a file", size) for name, size in sizes.items())]
    return Response(metrics.render(families), media_type=CONTENT_TYPE_LATEST)


async def _index_families(store: StoreReader) -> list[GaugeMetricFamily]:
    """Return how the index is; when it does not answer, that alone."""
    info = _gauge("info", "this program", 1, version=__version__)
    try:
        progress, totals = await store.get_status()
    except StoreError:
        return [info, _gauge("index_up", "whether the index answers", 0)]
    phase = GaugeMetricFamily("convstore_sync_phase", "1 for what a sync is doing now", labels=["phase"])
    for name in _PHASES:
        phase.add_metric([name], progress.phase == name)
    swept = (progress.last_sweep_at or 0) / _US
    return [
        info,
        _gauge("index_up", "whether the index answers", 1),
        _gauge("conversations", "conversations in the index", totals.conversations),
        _gauge("conversations_unreadable", "those that cannot be read as they should", totals.unreadable),
        _gauge("conversations_dirty", "those whose rows may lag behind their files", totals.behind),
        _gauge("index_revision", "rises with every change of the index", progress.revision),
        _gauge("index_last_sweep_timestamp_seconds", "when index and directory were last equal; 0: never", swept),
        phase,
        _gauge("sync_done", "conversations that the running phase has read", progress.done),
        _gauge("sync_total", "conversations that it has to read", progress.total),
    ]


def _gauge(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"convstore_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
