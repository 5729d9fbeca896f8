"""Promises of the alert rules: Prometheus takes them, each fires on its incident, and a real one sees that on a relay."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from debian import DEPLOY, daemon, needs, read_yaml, run, wait_listening
from serving import KEY, Running, ask, served

from relay_trio.telemetry.metrics import Labels, Metrics
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream

PROMETHEUS = DEPLOY / "prometheus"
METRICS_KEY = "sk-of-the-page-of-metrics-0123456789"
BODY = {"model": "fake-small", "messages": [{"role": "user", "content": "hi"}]}

SCRAPE = "300ms"
WINDOW = "3s"
"""What a scrape and a rule's five minutes shrink to."""


COUNTER = r"relay_.+_(total|count|sum|bucket)$"


# The files


@needs("promtool", "prometheus")
def test_prometheus_takes_the_configuration() -> None:
    """The rules and the configuration are valid, and the one names the other."""
    for words in (
        ("config", "--syntax-only", PROMETHEUS / "prometheus.yml"),
        ("rules", PROMETHEUS / "relay.rules.yml"),
    ):
        done = run("promtool", "check", *words)
        assert done.returncode == 0, done.stdout
    assert read_yaml((PROMETHEUS / "prometheus.yml").read_text())["rule_files"] == ["relay.rules.yml"]


@needs("promtool", "prometheus")
def test_each_alert_fires_and_ends_on_a_made_day() -> None:
    """Series made by hand, on Prometheus's own virtual clock: incidents, and a good day on which nothing fires."""
    done = run("promtool", "test", "rules", PROMETHEUS / "relay.rules.test.yml")
    assert done.returncode == 0, done.stdout


def rules() -> list[dict[str, Any]]:
    """Return the alerts."""
    (group,) = read_yaml((PROMETHEUS / "relay.rules.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_alert_is_tried() -> None:
    """Each alert is among the made days' that fire."""
    days = read_yaml((PROMETHEUS / "relay.rules.test.yml").read_text())["tests"]
    fired = {case["alertname"] for day in days for case in day["alert_rule_test"] if case["exp_alerts"]}
    assert {rule["alert"] for rule in rules()} == fired


def test_the_rules_speak_of_metrics_that_there_are() -> None:
    """Each name that a rule asks for is on the page; a name that has changed would be an alert that never comes."""
    page = Metrics(Labels(), version="0").render().decode()
    there = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    asked = {name for rule in rules() for name in re.findall(r"relay_\w+", rule["expr"])}
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in asked} <= there


# A real one


@attrs.define(eq=False)
class Prometheus:
    """A Prometheus that runs."""

    address: tuple[str, int]

    async def get(self, path: str) -> Any:
        """Return what its API answers."""
        async with connect(self.address) as client:
            while (response := await ask(client, "GET", path)).status == 503:  # it reads its files first
                pass
            return response.json()["data"]

    async def firing(self) -> set[str]:
        """Return the alerts that fire."""
        alerts = (await self.get("/api/v1/alerts"))["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def value(self, query: str) -> float:
        """Return the one value of a query; 0 if there is none."""
        found = (await self.get(f"/api/v1/query?query={quote(query)}"))["result"]
        return float(found[0]["value"][1]) if found else 0.0


@asynccontextmanager
async def prometheus(directory: Path, target: tuple[str, int]) -> AsyncIterator[Prometheus]:
    """Run Prometheus with the project's own files, scaled down, against this relay."""
    (directory / "key").write_text(METRICS_KEY)
    configuration = (PROMETHEUS / "prometheus.yml").read_text()
    configuration = configuration.replace("interval: 15s", f"interval: {SCRAPE}").replace(
        "relay:3000", "{}:{}".format(*target)
    )
    (directory / "prometheus.yml").write_text(
        configuration.replace("/run/secrets/relay_metrics_key", str(directory / "key"))
    )
    scaled = re.sub(r"for: \w+", "for: 500ms", (PROMETHEUS / "relay.rules.yml").read_text())
    (directory / "relay.rules.yml").write_text(re.sub(r"\[\w+\]|(?<=offset )\w+", _scaled, scaled))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address: tuple[str, int] = free.getsockname()
    words = (
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--web.listen-address={}:{}".format(*address),
    )
    async with daemon(*words) as running:
        await wait_listening(address, running)
        yield Prometheus(address)


def _scaled(found: re.Match[str]) -> str:
    return f"[{WINDOW}]" if found[0].startswith("[") else WINDOW


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[tuple[Running, FakeUpstream, Prometheus]]:
    """Run a relay of two workers before a provider, and a Prometheus that watches it."""
    async with open_fake_upstream("answer") as upstream:
        variables = {
            "OPENAI_API_KEY": "sk-of-the-provider-0123456789",
            "OPENAI_BASE_URL": upstream.base_url(),
            "RELAY_API_KEYS": KEY,
            "RELAY_METRICS_KEY": METRICS_KEY,
            "RELAY_WORKERS": "2",
        }
        async with served(directory, variables=variables) as relay:
            for number in (1, 2):
                await relay.line("ready", number)
            async with prometheus(directory, await relay.address()) as eyes:
                yield relay, upstream, eyes


async def ask_until(relay: Running, there: Callable[[], Any]) -> None:
    """Keep the relay busy, one request after the other, until this is so."""
    while not await there():
        async with connect(await relay.address()) as client:
            for _ in range(5):
                await ask(client, "POST", "/v1/chat/completions", KEY, BODY)


@pytest.mark.anyio
@pytest.mark.real_clock
@needs("prometheus", "prometheus")
async def test_an_incident_fires_and_resolves_and_no_counter_goes_back(tmp_path: Path) -> None:
    """Providers fail: the alert comes; they answer again: it goes. A worker is killed: what was counted stays counted."""
    async with watched(tmp_path) as (relay, upstream, eyes):

        async def up() -> bool:
            return await eyes.value("relay_requests_total") > 0

        async def fires() -> bool:
            return {"RelayErrors", "RelayChannelFailing"} <= await eyes.firing()

        async def is_over() -> bool:
            return not {"RelayErrors", "RelayChannelFailing"} & await eyes.firing()

        await ask_until(relay, up)
        assert await eyes.firing() == set()
        upstream.script.always = "answer;status=500"
        await ask_until(relay, fires)
        upstream.script.always = "answer"
        await ask_until(relay, is_over)

        counted = await eyes.value("sum(relay_requests_total)")
        scrapes = await eyes.value("count_over_time(up[10m])")
        os.kill((await relay.line("worker_ready"))["worker_pid"], signal.SIGKILL)
        await relay.line("worker_ready", 3)

        async def looked_again() -> bool:
            return await eyes.value("count_over_time(up[10m])") > scrapes + 5

        await ask_until(relay, looked_again)
        counters = [name for name in await eyes.get("/api/v1/label/__name__/values") if re.match(COUNTER, name)]
        assert [name for name in counters if await eyes.value(f"sum(resets({name}[10m]))")] == []
        assert len(counters) > 10
        assert await eyes.value("sum(relay_requests_total)") > counted
        assert await eyes.firing() == set()
        assert await relay.end() == 0
