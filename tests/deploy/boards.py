"""The metrics of a real server, and the queries of the docs' board and alerts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.builders import make_conversation
from tests.cli.test_serve import served, wait_until_in_step
from tests.documents import ROOT

KEY = "the-key-of-the-board"
HEADERS = {"Authorization": f"Bearer {KEY}"}
ALERTS = ROOT / "docs/alerts.yml"
BOARD = ROOT / "docs/grafana-dashboard.json"
_OF_PROMETHEUS = {"job", "instance", "le"}
_match_query = re.compile(r"\b((?:convstore|process)_[a-z_]+)(?:\{([^}]*)\})?")


class Known(NamedTuple):
    """A metric: its kind, and the labels of its samples."""

    kind: str
    labels: frozenset[str]


@contextmanager
def watched(root: Path, *options: object) -> Iterator[str]:
    """Serve a store in which an agent has just spent something, and give the server's URL."""
    make_conversation(root)
    with served(root, *options, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        make_conversation(root, 2, state={"stats": {"usage_to_metrics": {"agent": spent()}}})
        until = time.monotonic() + 60
        while "convstore_cost_dollars_total{" not in httpx.get(f"{server.url}/metrics", headers=HEADERS).text:
            assert time.monotonic() < until
            time.sleep(0.1)
        yield server.url


def spent() -> dict[str, object]:
    """Return the metrics of a call that was just made."""
    tokens = {"model": "a/model", "prompt_tokens": 100, "completion_tokens": 20}
    call = {"model": "a/model", "cost": 0.5, "timestamp": time.time()}
    return {
        "model_name": "a/model",
        "accumulated_cost": 0.5,
        "accumulated_token_usage": tokens,
        "costs": [call],
        "token_usages": [tokens],
    }


def read_known(url: str) -> dict[str, Known]:
    """Return the metrics that a server has, by the names that queries use, without `_bucket` and the like."""
    text = httpx.get(f"{url}/metrics", headers=HEADERS).text
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: Known(
            family.type, frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }


def list_board_queries() -> list[str]:
    """Return each query of the board, with its variables filled in."""
    panels = json.loads(BOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*") for one in queries]


def list_alert_queries() -> list[str]:
    """Return each query of the alerts."""
    return [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def find_unknown(query: str, known: dict[str, Known]) -> list[str]:
    """Return the metrics and labels in a query that the server does not have."""
    unknown = []
    labels: set[str] = {*_OF_PROMETHEUS}
    for name, selector in _match_query.findall(query):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found = known.get(name) or known.get(base)
        if found is None or (base != name and found.kind != "histogram"):
            unknown.append(name)
            continue
        labels |= found.labels
        used = re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector)
        unknown += [f"{name}{{{label}}}" for label in used if label not in found.labels | _OF_PROMETHEUS]
    for group in re.findall(r"\bby\s*\(([^)]*)\)", query):
        unknown += [f"by {label}" for label in re.findall(r"[a-z_]+", group) if label not in labels]
    return unknown
