"""The server's metrics for Prometheus: requests, work on the index, what models cost, and the state of the store.

Several workers of one server share a directory, which `serve` sets in PROMETHEUS_MULTIPROC_DIR. Each worker reports the
totals of all workers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
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

from .. import __version__
from ..errors import StoreError
from ..model.facets import Facet, FacetKind
from ..model.filters import ConversationFilter, Status
from ..settings import Settings
from ..store.read.reader import StoreReader

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_SYNC_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)

_PHASES = ("metadata", "events", "text")
_US = 1e6
_BY_STATUS = Facet(FacetKind.STATUS)
_ALL = ConversationFilter(archived=None, subagents=None)
_NO_STATUS: dict[str, float] = dict.fromkeys(Status, 0)
_STATUSES_MAX = 50

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


async def measure_store(store: StoreReader) -> list[GaugeMetricFamily]:
    """Return the gauges of a store: its index, which is asked, and the room on its disks."""
    sizes = await asyncio.to_thread(store.index.measure_files)
    return [
        *await _index_families(store),
        *(_gauge(name, "size of a file", size) for name, size in sizes.items()),
        *await asyncio.to_thread(_room_families, store.settings),
    ]


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
