"""The page in Chromium, beside the bounds for it: what a person waits for. Needs Chromium."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.client import Client
from tests.bench.measure import Sample, take_turns
from tests.bench.rows import LONG_EVENTS, Effort, Row, bounded
from tests.bench.server import Server, Store, serving, wait_until_in_step
from tests.builders import make_conversation, make_id, make_message_event, make_meta

_LIST = "/ui/list"
_NUMBER = 10**9 + 1
_YEAR_S = 365 * 86_400
_KEYS = 200
_TALK_KEYS = ["j", "k", "Shift+J", "Shift+K", "v"]
_APPENDS = 10
_TAILED, _TAILED_QUICK = 3600, 200
_BURST = 20
_WORDS = ("a", "ad", "add", "add r", "add re", "add retry", "add retry with", "add retry with j", "exponentially")
_CHROMIUM = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_ROWS, _TALK, _TILES = ".row[data-id] ~ .row[data-id]", ".talk .ev", ".tiles"
_PROBE = """
(() => {
  window.__shown = {};
  window.__longest = 0;
  window.__keys = [];
  const look = () => {
    for (const wanted of %s) {
      if (!(wanted in window.__shown) && document.querySelector(wanted)) window.__shown[wanted] = performance.now();
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) window.__longest = Math.max(window.__longest, one.duration);
  }).observe({ type: 'longtask', buffered: true });
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) {
      if (one.name === 'keydown') window.__keys.push(one.duration);
    }
  }).observe({ type: 'event', durationThreshold: 16, buffered: true });
})();
"""
"""Runs before the page's own modules: says when something was first on the screen, and what took longest."""
_QUICKEST_MS = 16.0
"""The browser tells only of keys that took as long until the next painted frame."""
_FLOOR = """(elements) => {
    const style = document.createElement('style');
    style.textContent = '.cur { box-shadow: -3px 0 0 blue; }';
    const all = Array.from({ length: elements }, (_, number) => {
        const one = document.createElement('p');
        one.textContent = `line ${number}`;
        return one;
    });
    document.body.replaceChildren(style, ...all);
    addEventListener('keydown', () => all[0].classList.toggle('cur'));
}"""
"""The least that a key can do, in a document with as many elements: what is left is the browser."""


def measure_page(stores: Sequence[Store], own: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure the page of the small and the large store; only stores of the bench's `own` are written to."""
    if shutil.which("chromium") is None:
        return []
    began = datetime.now(UTC)
    idle = [_add_idle_conversation(store.path) if store in own else None for store in stores]
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(store, "/alive")) for store in stores]
        for server in servers:
            wait_until_in_step(server, began)
        browser = stack.enter_context(_browser())
        tabs = [stack.enter_context(_tab(browser, server)) for server in servers]
        long_ones = [_find_long(store) for store in stores]
        return [
            *_measure_server(stack, servers, long_ones, effort),
            *_measure_screens(browser, servers, tabs, long_ones, effort),
            *_measure_keys(servers, tabs, long_ones),
            *_measure_live(stores, servers, tabs, idle, effort),
        ]


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def _tab(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=f"http://127.0.0.1:{server.port}")
    context.add_init_script(_PROBE % [_ROWS, _TALK, _TILES])
    yield context.new_page()
    context.close()


def _find_long(store: Store) -> str | None:
    longest = "SELECT uuid, event_count FROM conversation ORDER BY event_count DESC LIMIT 1"
    with closing(sqlite3.connect(f"file:{store.index}?mode=ro", uri=True)) as database:
        uuid, events = database.execute(longest).fetchone()
    return str(uuid) if events >= LONG_EVENTS else None


def _measure_server(
    stack: ExitStack, servers: Sequence[Server], long_ones: Sequence[str | None], effort: Effort
) -> list[Row]:
    """Measure the fragments alone, without a browser."""
    clients = [stack.enter_context(Client(server.port)) for server in servers]
    paths = {
        "page: the list with its filters, server part": (_LIST, 150.0),
        "page: typing to results, server part": ("", 150.0),
        "page: the overview of 30 days, server part": ("/ui/overview?days=30", None),
        "page: the overview of all time, server part": ("/ui/overview?days=0", None),
    }
    rows = []
    for name, (path, at_most) in paths.items():
        calls = {size: _ask(client, path) for size, client in zip(("small", "large"), clients, strict=True)}
        times = take_turns(calls, blocks=effort.blocks, each=max(effort.each // 8, 2))
        rows.append(bounded(Row(name, "ms", times["small"], times["large"]), at_most=at_most))
    calls = {
        size: partial(client.get, f"/ui/c/{uuid}/events?from={LONG_EVENTS // 2}")
        for size, client, uuid in zip(("small", "large"), clients, long_ones, strict=True)
        if uuid
    }
    times = take_turns(calls, blocks=effort.blocks, each=2)
    return [*rows, _row("page: a section of 50 events, server part", "ms", times)]


def _ask(client: Client, path: str) -> Callable[[], object]:
    """Return a call that gets a fragment; without a path, the list for the next words that a person types."""
    if path:
        return lambda: client.get(path)
    words = (_WORDS[number % len(_WORDS)] for number in count())
    return lambda: client.get(f"{_LIST}?q={next(words).replace(' ', '+')}")


def _row(name: str, unit: str, samples: Mapping[str, Sample], at_most: float | None = None) -> Row:
    return bounded(Row(name, unit, samples.get("small"), samples.get("large")), at_most=at_most)


def _measure_screens(
    browser: Browser,
    servers: Sequence[Server],
    tabs: Sequence[Page],
    long_ones: Sequence[str | None],
    effort: Effort,
) -> list[Row]:
    """Measure from the address to the screen: the list, and a conversation of 10,000 events with jumps in it."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(what: str, size: str, value: float) -> None:
        found.setdefault(what, {}).setdefault(size, []).append(value)

    for _ in range(effort.backfills + 2):
        for size, server, tab, uuid in zip(("small", "large"), servers, tabs, long_ones, strict=True):
            with _tab(browser, server) as fresh:
                note("cold", size, _shown(fresh, "/", _ROWS))
            note("warm", size, _shown(tab, "/", _ROWS))
            note("list", size, tab.locator("*").count())
            note("overview", size, _shown(tab, "/overview?days=30", _TILES))
            if uuid is None:
                continue
            note("open", size, _shown(tab, f"/c/{uuid}", _TALK))
            for seq in (0, LONG_EVENTS - 1, LONG_EVENTS // 2, LONG_EVENTS // 5):
                note("jump", size, _jump(tab, seq))
                note("talk", size, tab.locator("*").count())
    samples = {what: {size: Sample.of(values) for size, values in sizes.items()} for what, sizes in found.items()}
    nothing: dict[str, Sample] = {}
    return [
        _row("page: list on the screen, first visit", "ms", samples["cold"], at_most=700),
        _row("page: list on the screen", "ms", samples["warm"], at_most=300),
        _row("page: overview on the screen", "ms", samples["overview"]),
        _row(f"page: a conversation of {LONG_EVENTS:,} events on the screen", "ms", samples.get("open", nothing), 300),
        _row("page: a jump in it", "ms", samples.get("jump", nothing), 200),
        _row("page: elements of the list", "", samples["list"], 1500),
        _row("page: elements of the conversation", "", samples.get("talk", nothing), 3000),
    ]


def _shown(tab: Page, path: str, wanted: str) -> float:
    """Open an address, and return the milliseconds until the page has what is wanted."""
    tab.goto("about:blank")
    tab.goto(path, wait_until="commit")
    tab.wait_for_selector(wanted, state="attached")
    return float(_get(tab, f"window.__shown[{wanted!r}] ?? performance.now()"))


def _get(tab: Page, expression: str) -> Any:
    return tab.evaluate(f"() => new Promise((done) => requestAnimationFrame(() => done({expression})))")


def _jump(tab: Page, seq: int) -> float:
    """Go to an event, and return the milliseconds until it is the current one on the screen."""
    return float(
        tab.evaluate(
            """(seq) => new Promise((done) => {
                const began = performance.now();
                const look = () => {
                    const one = document.querySelector('.ev.cur');
                    const there = one && (one.dataset.seq === String(seq) || one.dataset.with === String(seq));
                    const box = there && one.getBoundingClientRect();
                    if (box && box.bottom > 0 && box.top < innerHeight) done(performance.now() - began);
                    else requestAnimationFrame(look);
                };
                location.hash = `#e${seq}`;
                requestAnimationFrame(look);
            })""",
            seq,
        )
    )


def _measure_keys(servers: Sequence[Server], tabs: Sequence[Page], long_ones: Sequence[str | None]) -> list[Row]:
    """Press keys in the list and in a long conversation, and in a document in which a key does next to nothing."""
    taken: dict[str, list[float]] = {}
    least: list[float] = []
    longest = {}
    for size, _, tab, uuid in zip(("small", "large"), servers, tabs, long_ones, strict=True):
        taken[size], long, elements = [], [], 0
        talk = (f"/c/{uuid}", _TALK) if uuid else ("/", _ROWS)
        for path, wanted, keys in (("/", _ROWS, ["j", "k"]), (*talk, _TALK_KEYS)):
            _shown(tab, path, wanted)
            taken[size] += _press(tab, keys, _KEYS // 2)
            long.append(float(_get(tab, "window.__longest")))
            elements = max(elements, tab.locator("*").count())
        longest[size] = Sample.of([max(long)])
        tab.goto("about:blank")
        tab.evaluate(_FLOOR, elements)
        least = _press(tab, ["j"], _KEYS)
    return [
        _of_keys(f"page: slowest of {_KEYS} keys", taken, least, 1, at_most=100),
        _of_keys("page: slowest but for one key of 20", taken, least, _KEYS // 20),
        _row("page: longest task meanwhile", "ms", longest, at_most=100),
    ]


def _press(tab: Page, keys: Sequence[str], number: int) -> list[float]:
    """Press keys one after the other, and return the milliseconds from each to the next painted frame."""
    tab.evaluate("() => { window.__longest = 0; window.__keys = []; }")
    for at in range(number):
        tab.keyboard.press(keys[at % len(keys)])
    tab.wait_for_timeout(200)  # the browser tells of a key some time after its frame
    told = [float(one) for one in _get(tab, "window.__keys")]
    return told + [_QUICKEST_MS] * (number - len(told))


def _of_keys(
    name: str, taken: Mapping[str, Sequence[float]], least: Sequence[float], place: int, at_most: float | None = None
) -> Row:
    """Return a row with the time of the `place`-th slowest key, and of the `place`-th slowest of the floor."""
    found = {size: Sample.of([sorted(times)[-place]]) for size, times in taken.items()}
    floor = Sample.of([sorted(least)[-place]])
    return bounded(Row(name, "ms", found.get("small"), found.get("large"), floor), at_most=at_most)


def _add_idle_conversation(root: Path) -> Path:
    """Write a conversation whose files are a year old."""
    then = datetime.fromtimestamp(time.time() - _YEAR_S, UTC).isoformat()
    meta = make_meta(make_id(_NUMBER), created_at=then, updated_at=then)
    directory = make_conversation(root, _NUMBER, meta=meta, events=[make_message_event(0, "long ago")])
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (time.time() - _YEAR_S,) * 2)
    return directory


def _measure_live(
    stores: Sequence[Store],
    servers: Sequence[Server],
    tabs: Sequence[Page],
    idle: Sequence[Path | None],
    effort: Effort,
) -> list[Row]:
    """Append by another program to a conversation that was idle for a year, while its page is open."""
    seen, grown = {}, {}
    for size, _, _server, tab, directory in zip(("small", "large"), stores, servers, tabs, idle, strict=True):
        if directory is None:
            continue
        _shown(tab, f"/c/{directory.name}", _TALK)
        tab.wait_for_selector("#live:not([hidden])")
        times = []
        for seq in range(1, _APPENDS + 1):
            time.sleep(0.37)  # not in step with the server's ticks
            _append(directory, seq)
            written = perf_counter()
            tab.wait_for_selector(f"article[data-seq='{seq}']", state="attached")
            times.append((perf_counter() - written) * 1000)
        seen[size] = Sample.of(times)
        before = _heap_mb(tab)
        last = _APPENDS + (_TAILED if effort.backfills > 1 else _TAILED_QUICK)
        for seq in range(_APPENDS + 1, last + 1):
            _append(directory, seq)
            if seq % _BURST == 0 or seq == last:
                tab.keyboard.press("End")
                tab.wait_for_selector(f"article[data-seq='{seq}']", state="attached")
        grown[size] = Sample.of([_heap_mb(tab) - before])
    worst = {size: Sample.of([sample.max]) for size, sample in seen.items()}
    return [
        _row("page: an event on disk to the screen, idle for a year", "ms", seen),
        _row("page: the slowest of these", "ms", worst, at_most=1000),
        _row("page: heap after as many events as an hour has seconds", "MB", grown, at_most=30),
    ]


def _append(directory: Path, seq: int) -> None:
    """Write an event as a program does that knows nothing of markers: a file, renamed into its place."""
    event = make_message_event(seq, f"event {seq}", timestamp=datetime.now(UTC).replace(tzinfo=None).isoformat())
    fresh = directory / "fresh"
    fresh.write_bytes(orjson.dumps(event))
    fresh.replace(directory / "events" / f"event-{seq:05d}-{event['id']}.json")


def _heap_mb(tab: Page) -> float:
    session = tab.context.new_cdp_session(tab)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used) / 1e6
