"""The relay's own paths through a running relay: health, readiness, the tree of requests, metrics, and who may see them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from stand import PROVIDER_KEY, STREAM, UNARY, Stand, error_of, open_stand, read_failed_stream

from relay_trio.testing.fake_client import FakeClient, Response, connect, request_bytes
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.shapes import with_fields

pytestmark = pytest.mark.anyio

ADMIN_KEY = "sk-admin-0123456789abcdef"
METRICS_KEY = "sk-metrics-0123456789abcdef"
HEALTH = "/api/monitor/health"
TREE = "/debug/nurseries"
ADMIN = {"RELAY_ADMIN_KEY": ADMIN_KEY}


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


async def get(stand: Stand, path: str, key: str | None = None, *, method: str = "GET", accept: str = "*/*") -> Response:
    """Ask one of the relay's own paths."""
    fields = [("accept", accept)] if key is None else [("accept", accept), ("authorization", f"Bearer {key}")]
    return await stand.ask(request_bytes(method, path, "relay.test", fields))


@asynccontextmanager
async def live_request(stand: Stand, request: bytes = STREAM, requests: int = 1) -> AsyncIterator[FakeClient]:
    """Be a client whose request lives for the length of the block."""
    async with connect(stand.address) as client:
        await client.send(request)
        await stand.upstream.wait_requests(requests)
        await trio.sleep(0.1)
        yield client


# ---- Health


async def test_the_health_of_a_relay_at_rest(tmp_path: Path) -> None:
    """Everything is there, everything is even, no key is asked for.

    It is asked before the census has a baseline: here the process holds the fakes' sockets too.
    """
    async with open_stand(tmp_path) as stand:
        await stand.ask(UNARY)
        response = await get(stand, HEALTH)
        assert response.status == 200
        assert response.head.get("content-type") == "application/json"
        assert response.head.get("cache-control") == "no-store"
        health = response.json()
    assert (health["status"], health["reasons"]) == ("ok", [])
    assert health["nurseries"] == health["goroutines"] == 1, "the one that looks"
    assert health["peak"] == {"1h": 1, "24h": 1}
    assert health["requests"] == {"live": 0, "queued": 0, "oldest_s": 0.0, "overdue": 0}
    counted = {kind: (count["live"], count["unaccounted"]) for kind, count in health["balance"].items()}
    at_rest = dict.fromkeys(counted, (0, 0))
    assert counted == at_rest | {"request_scopes": (1, 0), "nurseries": (1, 0), "client_connections": (1, 0)}
    assert health["balance"]["slots"]["opened"] == 1
    assert health["channels"] == {"up": 1, "down": 0}
    assert health["log"] == {"dropped": 0}
    assert set(health["memory"]) == {"alloc_mb", "sys_mb", "rss_mb", "num_gc"}
    assert health["fds"]["open"] <= health["fds"]["limit"]
    assert {"tasks", "loop_lag_ms", "uptime_s", "version"} <= set(health)
    assert [worker["pid"] for worker in health["workers"]] == [os.getpid()]


async def test_the_health_tells_what_lives(tmp_path: Path) -> None:
    """Requests, their age, and what they hold."""
    async with (
        open_stand(tmp_path, "silent-before-head", relay="max_concurrency = 2\nmax_queue = 5") as stand,
        live_request(stand),
        live_request(stand, requests=2),
        connect(stand.address) as queued,
    ):
        await queued.send(UNARY)
        await trio.sleep(29)
        health = (await get(stand, HEALTH)).json()
    assert (health["nurseries"], health["requests"]["live"], health["requests"]["queued"]) == (4, 2, 1)
    assert health["requests"]["oldest_s"] == pytest.approx(29.2, abs=0.2)
    assert health["balance"]["upstream_connections"]["live"] == 2


@pytest.mark.parametrize(("warn", "error", "status"), [(3, 100, "warning"), (1, 3, "error"), (4, 100, "ok")])
async def test_too_many_live_nurseries_are_told(tmp_path: Path, warn: int, error: int, status: str) -> None:
    """With the number and the threshold; the HTTP status stays 200, and readiness is not concerned."""
    relay = f"watchdog = {{ warn = {warn}, error = {error} }}"
    async with open_stand(tmp_path, "silent-before-head", relay=relay) as stand:
        async with live_request(stand), live_request(stand, requests=2):
            response = await get(stand, HEALTH)
            assert (await get(stand, "/readyz")).status == 200
        assert (response.status, response.json()["status"]) == (200, status)
        assert len(response.json()["reasons"]) == (status != "ok")


async def test_the_health_names_no_secret(tmp_path: Path) -> None:
    """It is open to everybody."""
    async with open_stand(tmp_path, "silent-before-head", environ=ADMIN) as stand, live_request(stand):
        text = (await get(stand, HEALTH)).body.data.decode()
        for secret in (CLIENT_KEY, PROVIDER_KEY, ADMIN_KEY, "main", "key-1", stand.upstream.url):
            assert secret not in text


async def test_a_channel_that_is_refused_is_down(tmp_path: Path) -> None:
    """And up again once it answers."""
    async with open_stand(tmp_path, "answer;status=401") as stand:
        assert (await stand.ask(UNARY)).status == 502
        assert (await get(stand, HEALTH)).json()["channels"] == {"up": 0, "down": 1}
        stand.upstream.script.always = "answer"
        assert (await stand.ask(UNARY)).status == 200
        assert (await get(stand, HEALTH)).json()["channels"] == {"up": 1, "down": 0}


async def test_monitoring_is_no_noise_in_the_log(tmp_path: Path) -> None:
    """A balancer asks every second: debug lines, and no slot."""
    async with open_stand(tmp_path, relay="max_concurrency = 1") as stand:
        for path in (HEALTH, "/livez", "/readyz"):
            assert (await get(stand, path)).status == 200
        assert stand.relay.finished() == []
        assert len(stand.relay.lines("request_finished")) == 3
        assert stand.relay.running.services.balance.slots.opened == 0


# ---- Alive and ready


async def test_a_relay_that_drains_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Monitoring goes on; new requests are sent elsewhere, on a new connection; live ones go on."""
    async with open_stand(tmp_path, "late-head;interval=30") as stand, live_request(stand, UNARY) as client:
        stand.relay.process.drain.draining = True
        assert (await get(stand, "/livez")).json() == {"status": "alive"}
        ready = await get(stand, "/readyz")
        assert (ready.status, ready.head.get("retry-after")) == (503, "1")
        health = (await get(stand, HEALTH)).json()
        assert health["status"] == "draining"
        refused = await stand.ask(UNARY)
        assert refused.status == 503
        assert refused.head.get("connection") == "close"
        assert refused.head.get("retry-after") == "1"
        assert error_of(refused)["code"] == "relay_draining"
        assert (await client.read_response()).status == 200
        assert stand.upstream.request_count == 1


# ---- The tree of live requests


async def test_without_an_admin_key_the_tree_is_closed(tmp_path: Path) -> None:
    """As if it were not there, and with the reason."""
    async with open_stand(tmp_path) as stand:
        for method, path in (("GET", TREE), ("DELETE", f"{TREE}/req_1")):
            response = await get(stand, path, CLIENT_KEY, method=method)
            assert response.status == 404
            assert "RELAY_ADMIN_KEY is not set" in error_of(response)["message"]


@pytest.mark.parametrize("key", [None, CLIENT_KEY, "", ADMIN_KEY[:-1], ADMIN_KEY + "x"])
async def test_the_tree_opens_to_the_admin_key_only(tmp_path: Path, key: str | None) -> None:
    """A client's key is none."""
    async with open_stand(tmp_path, environ=ADMIN) as stand:
        for method, path in (("GET", TREE), ("DELETE", f"{TREE}/req_1")):
            response = await get(stand, path, key, method=method)
            assert response.status == 401
            assert "RELAY_ADMIN_KEY" in error_of(response)["message"]
        assert (await stand.ask(UNARY.replace(CLIENT_KEY.encode(), ADMIN_KEY.encode()))).status == 401, "nor otherwise"


async def test_the_tree_shows_what_each_request_is_doing(tmp_path: Path) -> None:
    """Age, what is left, key, channel, attempt, phase, bytes; its own helpers; and no secret."""
    async with open_stand(tmp_path, "silent-before-head", environ=ADMIN) as stand:
        async with live_request(stand, with_fields(STREAM, b"x-request-id: my-own\r\n")):
            await trio.sleep(12)
            response = await get(stand, TREE, ADMIN_KEY)
        tree = response.json()
        assert tree["count"] == 2
        request, looking = tree["nurseries"]
        assert looking["name"] == "monitoring"
        assert request == request | {
            "id": "my-own",
            "name": "request",
            "worker": os.getpid(),
            "method": "POST",
            "path": "/v1/chat/completions",
            "key": "key-1",
            "attempt": 1,
            "channel": "main",
            "phase": "headers",
            "bytes_in": len(STREAM.partition(b"\r\n\r\n")[2]),
            "helpers": [],
        }
        assert request["age_s"] + request["left_s"] == pytest.approx(900)
        assert request["bytes_out"] == len(b": keep-alive\n\n")
        assert "stacks" not in request
        assert CLIENT_KEY not in response.body.data.decode()


async def test_the_tree_shows_stacks_if_asked(tmp_path: Path) -> None:
    """Where each task waits, without what its variables hold."""
    async with open_stand(tmp_path, "silent-before-head", environ=ADMIN) as stand, live_request(stand):
        response = await get(stand, f"{TREE}?stacks=1", ADMIN_KEY)
        request, _ = response.json()["nurseries"]
        ((name, stack),) = request["stacks"].items()
        assert name
        assert any("read_head" in line for line in stack)
        text = response.body.data.decode()
        for secret in (CLIENT_KEY, PROVIDER_KEY, ADMIN_KEY, "Say something"):
            assert secret not in text


async def test_the_tree_is_text_for_eyes(tmp_path: Path) -> None:
    """Indented, one request after the other."""
    async with open_stand(tmp_path, "silent-before-head", environ=ADMIN) as stand, live_request(stand):
        response = await get(stand, f"{TREE}?stacks=1", ADMIN_KEY, accept="text/plain")
        assert response.head.get("content-type") == "text/plain; charset=utf-8"
        lines = response.body.data.decode().splitlines()
        assert lines[0] == "2 live nurseries"
        assert any(line == "    phase headers" for line in lines)
        assert any(line.startswith("      ") and "read_head" in line for line in lines)


@pytest.mark.parametrize("streaming", [False, True], ids=["before-the-head", "in-a-stream"])
async def test_an_operator_may_end_a_request(tmp_path: Path, *, streaming: bool) -> None:
    """Its client is told, as far as it can be, its provider's connection is closed, and the log says who did it."""
    behaviour = "silent-mid-body" if streaming else "silent-before-head"
    async with open_stand(tmp_path, behaviour, environ=ADMIN) as stand:
        async with live_request(stand, with_fields(STREAM, b"x-request-id: mine\r\n")) as client:
            cancelled = await get(stand, f"{TREE}/mine", ADMIN_KEY, method="DELETE")
            assert cancelled.json() == {"cancelled": "mine"}
            if streaming:
                assert (await client.read_head()).status == 200
                _, error = await read_failed_stream(client)
            else:
                response = await client.read_response()
                assert response.status == 503
                error = error_of(response)
            assert error["code"] == "cancelled_by_operator"
        line = await stand.line()
        assert (line["outcome"], line["left_open"]) == ("cancelled_by_operator", 0)
        await stand.upstream.wait_no_connections()
        again = await get(stand, f"{TREE}/mine", ADMIN_KEY, method="DELETE")
        assert (again.status, error_of(again)["code"]) == (404, "no_such_request")
        await stand.rest()


async def test_the_ancestors_profile_says_where_it_went(tmp_path: Path) -> None:
    """410, and the path that replaces it."""
    async with open_stand(tmp_path) as stand:
        response = await get(stand, "/debug/pprof/goroutine?debug=1")
        assert response.status == 410
        assert "/debug/nurseries?stacks=1" in error_of(response)["message"]


# ---- Metrics


@pytest.mark.real_clock  # the page is rendered in a thread
async def test_metrics_are_open_unless_a_key_is_set(tmp_path: Path) -> None:
    """Then only that key opens them."""
    async with open_stand(tmp_path) as stand:
        await stand.ask(UNARY)
        response = await get(stand, "/metrics")
        assert response.status == 200
        assert (response.head.get("content-type") or "").startswith("text/plain")
        text = response.body.data.decode()
        assert "# TYPE relay_" in text
        assert 'channel="main"' in text
        assert CLIENT_KEY not in text
    async with open_stand(tmp_path, environ={"RELAY_METRICS_KEY": METRICS_KEY}) as stand:
        for key, status in ((None, 401), (CLIENT_KEY, 401), (METRICS_KEY, 200)):
            assert (await get(stand, "/metrics", key)).status == status


# ---- Model lists


def ids(response: Response) -> list[str]:
    listed: Any = response.json()
    return [model["id"] for model in listed["data"]]


async def test_the_list_of_models_is_what_this_client_may_use(tmp_path: Path) -> None:
    """Over all channels, the provider asked once in five minutes."""
    async with open_stand(tmp_path, channel='model_map = { "mine" = "fake-small" }') as stand:
        for _ in range(3):
            listed = await get(stand, "/v1/models", CLIENT_KEY)
            assert set(ids(listed)) == {"mine", "fake-small", "fake-large"}
        assert stand.upstream.request_count == 1
        one = await get(stand, "/v1/models/mine", CLIENT_KEY)
        assert one.json()["id"] == "mine"
        none = await get(stand, "/v1/models/other", CLIENT_KEY)
        assert (none.status, error_of(none)["code"]) == (404, "model_not_found")
        assert (await get(stand, "/v1/models")).status == 401
        await trio.sleep(301)
        await get(stand, "/v1/models", CLIENT_KEY)
        assert stand.upstream.request_count == 2
        await stand.rest()


async def test_a_list_that_is_configured_is_not_asked_for(tmp_path: Path) -> None:
    """A dead provider does not take it along."""
    async with open_stand(tmp_path, "reset-on-accept", channel='models = ["a", "b"]') as stand:
        assert ids(await get(stand, "/v1/models", CLIENT_KEY)) == ["a", "b"]
        assert stand.upstream.connections.opened == 0


@pytest.mark.parametrize("behaviour", ["answer;status=500", "reset-mid-body", "bad-json", "html-200", "gzip-bomb"])
async def test_a_provider_that_cannot_list_is_left_out(tmp_path: Path, behaviour: str) -> None:
    """An empty list, a line for the operator, and nothing left open."""
    async with open_stand(tmp_path, behaviour) as stand:
        response = await get(stand, "/v1/models", CLIENT_KEY)
        assert (response.status, ids(response)) == (200, [])
        (line,) = stand.relay.lines("models_not_listed")
        assert line["channel"] == "main"
        assert PROVIDER_KEY not in json.dumps(line)
        await stand.upstream.wait_no_connections()
        await stand.rest()


# ---- Settings


async def test_the_settings_in_force_are_told_to_the_operator(tmp_path: Path) -> None:
    """Each value with its variable and where it came from; a channel's own clocks; of secrets only that they are there."""
    environ = {**ADMIN, "RELAY_TIMEOUT": "600"}
    async with open_stand(tmp_path, limits="connect = 5", channel="limits = { headers = 7 }", environ=environ) as stand:
        assert (await get(stand, "/debug/settings")).status == 401
        response = await get(stand, "/debug/settings", ADMIN_KEY)
    told = response.json()
    settings = told["settings"]
    assert settings["limits.total"] == {"value": "600", "setting": "RELAY_TIMEOUT", "source": "RELAY_TIMEOUT"}
    assert settings["limits.connect"]["value"] == "5"
    assert settings["limits.connect"]["source"].endswith(".toml:5")
    assert settings["limits.headers"] == {"value": "= total", "setting": "RELAY_HEADER_TIMEOUT", "source": "default"}
    assert settings["admin_key"]["value"] == "set"
    assert told["channels"] == {"main": {"limits": {"headers": 7.0}}}
    assert (told["demo"], told["wait_for_restart"]) == (False, [])
    for secret in (ADMIN_KEY, CLIENT_KEY, PROVIDER_KEY):
        assert secret not in str(told)


async def test_the_settings_are_closed_without_an_admin_key(tmp_path: Path) -> None:
    """As all paths below /debug."""
    async with open_stand(tmp_path) as stand:
        assert (await get(stand, "/debug/settings", ADMIN_KEY)).status == 404
