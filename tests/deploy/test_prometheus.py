"""Prometheus scrapes a real server, and answers each query of the docs' board and alerts."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app import Settings
from tests.builders import make_conversation
from tests.conftest import serving
from tests.deploy.boards import ALERTS, KEY, list_alert_queries, list_board_queries, watched
from tests.deploy.recipes import free_port, recipe, running, wait_for


def check(text: str) -> tuple[int, str]:
    ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


async def test_promtool_finds_nothing_wrong_with_the_metrics(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        text = (await client.get("/metrics")).text
    assert await asyncio.to_thread(check, text) == (0, "")


def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    ran = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    """promtool plays ten minutes in which the disk fills up, and a quarter of an hour with errors."""
    on = 'instance="one", job="convstore"'
    tests = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f'convstore_free_bytes{{{on}, place="store"}}', "values": "2e9x4 5e8x10"},
                    {"series": f'convstore_free_bytes{{{on}, place="index"}}', "values": "2e9x20"},
                    {"series": f'convstore_requests_total{{{on}, status="200"}}', "values": "0+60x20"},
                    {"series": f'convstore_requests_total{{{on}, status="500"}}', "values": "0x5 6+6x14"},
                ],
                "alert_rule_test": [
                    {"eval_time": "8m", "alertname": "ConvstoreDiskFull", "exp_alerts": []},
                    {"eval_time": "11m", "alertname": "ConvstoreDiskFull", "exp_alerts": [
                        {"exp_labels": {"instance": "one", "job": "convstore", "place": "store",
                                        "severity": "critical"},
                         "exp_annotations": {"summary": "the disk of the store on one has 476.8MiB free"}}]},
                    {"eval_time": "5m", "alertname": "ConvstoreErrors", "exp_alerts": []},
                    {"eval_time": "18m", "alertname": "ConvstoreErrors", "exp_alerts": [
                        {"exp_labels": {"instance": "one", "job": "convstore", "severity": "warning"},
                         "exp_annotations": {
                             "summary": "9.091% of the answers on one are errors of the server"}}]},
                ],
            }
        ],
    }  # fmt: skip
    file = tmp_path / "alerts_test.yml"
    file.write_text(yaml.safe_dump(tests))
    ran = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["1", "2"])
def test_prometheus_answers_each_query_of_the_board(options: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    port = free_port()
    with watched(root, *options) as url:
        (tmp_path / "key").write_text(KEY)
        (tmp_path / "alerts.yml").write_text(ALERTS.read_text())
        config = yaml.safe_load(
            recipe("yaml scrape")
            .replace("/etc/prometheus/convstore-read-key", str(tmp_path / "key"))
            .replace("conversations.example:8000", url.removeprefix("http://"))
        )
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        with running(
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ):
            wait_for(port)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60) as prometheus:
                wait_for_scrapes(prometheus)
                empty = [query for query in list_board_queries() if not ask(prometheus, query)]
                for query in list_alert_queries():
                    ask(prometheus, query)
                rules = prometheus.get("/rules").json()["data"]["groups"][0]["rules"]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [query for query in empty if not may_be_empty(query)] == []


def wait_for_scrapes(prometheus: httpx.Client) -> None:
    """Wait until rates are known, and all rules were evaluated."""
    until = time.monotonic() + 60
    while not ask(prometheus, "rate(convstore_tokens_total[1m]) >= 0") or is_new(prometheus):
        assert time.monotonic() < until
        time.sleep(0.2)


def is_new(prometheus: httpx.Client) -> bool:
    """Whether a rule was not evaluated yet."""
    return '"health":"unknown"' in prometheus.get("/rules").text


def ask(prometheus: httpx.Client, query: str) -> list[Any]:
    """Return what Prometheus finds for a query. An answer of "not a number" counts as nothing."""
    answer = prometheus.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]


def may_be_empty(query: str) -> bool:
    """Whether nothing is a good answer: no sync or write runs, no sweep ended yet, or the disk counts no inodes."""
    return any(
        one in query
        for one in ("sync_wanted", "sweep_seconds", "sync_seconds", "commit_seconds", "lock_wait", "free_inodes")
    )
