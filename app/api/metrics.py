"""The server's metrics for Prometheus: requests, commits and syncs. `routes/metrics` serves them.

Several workers of one server share a directory, which `serve` sets in PROMETHEUS_MULTIPROC_DIR. Each worker reports the
totals of all workers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache

from prometheus_client import (
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

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_SYNC_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


class Metrics:
    """The counters and histograms of one application."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "convstore_requests", "HTTP requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "convstore_request_seconds",
            "time from a request to the start of its answer",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._work = {
            what: Histogram(f"convstore_{what}_seconds", text, buckets=buckets, registry=self.registry)
            for what, text, buckets in (
                ("commit", "write transactions of the index, without waiting for its lock", _WORK_BUCKETS),
                ("lock_wait", "waiting for the lock that all writers of the index share", _WORK_BUCKETS),
                ("sync", "comparisons of the whole index with the directory, backfills included", _SYNC_BUCKETS),
            )
        }
        ProcessCollector(registry=self.registry)
        self.request = lru_cache(maxsize=1024)(self._request)

    def _request(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return the counter and the histogram for these labels."""
        return self._requests.labels(method, route, str(status)), self._seconds.labels(route)

    def note(self, what: str, seconds: float) -> None:
        """Record a commit, lock wait or sync of the store."""
        self._work[what].observe(seconds)

    def render(self, families: Iterable[GaugeMetricFamily]) -> bytes:
        """Return the metrics of all workers of this server, and `families`, in Prometheus's format."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        current = CollectorRegistry()
        current.register(_FamiliesCollector(families))
        return generate_latest(registry) + generate_latest(current)


class _FamiliesCollector(Collector):
    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families
