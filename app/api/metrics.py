"""The server's metrics for Prometheus: requests, work on the index, and what models cost. `routes/metrics` serves them.

Several workers of one server share a directory, which `serve` sets in PROMETHEUS_MULTIPROC_DIR. Each worker reports the
totals of all workers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_SYNC_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


_LOWEST = frozenset({"process_start_time_seconds", "process_max_fds"})


class Metrics:
    """The counters, histograms and gauges of one application."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests answered", "method", "route", "status")
        self._seconds = self._histogram(
            "request_seconds", "time from a request to the start of its answer", _REQUEST_BUCKETS, "route", "status"
        )
        self.in_flight = self._gauge("requests_in_flight", "HTTP requests that are being answered, but event streams")
        self.streams = self._gauge("open_streams", "event streams that are open")
        self.sockets = self._gauge("open_sockets", "WebSockets that are open")
        self.worker_restarts = self._counter("worker_restarts", "workers that were started in place of a dead one")
        self._noted: dict[str, Counter | Histogram] = {
            "commit": self._histogram(
                "commit_seconds", "write transactions of the index, without waiting for its lock", _WORK_BUCKETS
            ),
            "lock_wait": self._histogram(
                "lock_wait_seconds", "waiting for the lock that all writers of the index share", _WORK_BUCKETS
            ),
            "sync": self._histogram(
                "sync_seconds", "comparisons of the whole index with the directory, backfills included", _SYNC_BUCKETS
            ),
            "sweep": self._histogram(
                "sweep_seconds",
                "sweeps: comparisons of all conversations with the index, in small steps",
                _SYNC_BUCKETS,
            ),
            "sweep_failure": self._counter("sweep_failures", "steps of syncs and sweeps that failed and are repeated"),
            "lease_conflict": self._counter(
                "lease_conflicts", "writes that were refused because another program has the conversation"
            ),
            "refused_key": self._counter("refused_keys", "requests and sockets whose key was refused", "reason"),
            "cost": self._counter("cost_dollars", "what model calls cost, as agents recorded it", "model"),
            "tokens": self._counter("tokens", "tokens of model calls, as agents recorded them", "model", "kind"),
        }
        for reason in ("unknown", "read_only"):
            self._noted["refused_key"].labels(reason)
        ProcessCollector(registry=self.registry)
        self.request = lru_cache(maxsize=1024)(self._request)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"convstore_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"convstore_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        """Return a gauge. Of several workers, the values of those that live are added."""
        return Gauge(f"convstore_{name}", text, registry=self.registry, multiprocess_mode="livesum")

    def _request(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return the counter and the histogram for these labels."""
        return self._requests.labels(method, route, str(status)), self._seconds.labels(route, str(status))

    def note(self, what: str, amount: float, /, **labels: str) -> None:
        """Record the seconds of a piece of work, or the amount of something countable."""
        noted = self._noted[what]
        if isinstance(noted, Histogram):
            noted.observe(amount)
        else:
            (noted.labels(**labels) if labels else noted).inc(amount)

    def render(self, families: Iterable[GaugeMetricFamily]) -> bytes:
        """Return the metrics of all workers of this server, and `families`, in Prometheus's format."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(_WorkersCollector())
        current = CollectorRegistry()
        current.register(_FamiliesCollector(families))
        return generate_latest(registry) + generate_latest(current)


class _WorkersCollector(Collector):
    """The `process_*` metrics of a server with workers: the sums over the workers and their parent."""

    def collect(self) -> Iterable[Metric]:
        """Return the sums; of the start times and the limits of descriptors, the lowest."""
        merged: dict[str, Metric] = {}
        for pid in _list_processes():
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                [sample] = metric.samples
                known = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                values = [*(one.value for one in known.samples), sample.value]
                known.samples = [sample._replace(value=min(values) if metric.name in _LOWEST else sum(values))]
        return merged.values()


def _list_processes() -> list[str]:
    """Return the process ids of a server with workers, of which this process is one."""
    parent = os.getppid()
    try:
        return [str(parent), *Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return [str(os.getpid())]


class _FamiliesCollector(Collector):
    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families
