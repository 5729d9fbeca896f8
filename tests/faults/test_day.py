"""A day of mixed faults in less than a minute: the number of live requests stays flat, and at the end nothing is left.

Twenty-four hours of the virtual clock, REQUESTS requests through the whole relay: real sockets, the real connection class,
the real transport, every service task. Half of them meet a provider that misbehaves, some have clients that do. The
ancestor's curve over such a day was a line that only rose.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
from stand import Stand, channel_table, open_with

from relay_trio.settings.model import CLEANUP_S
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import open_fake_upstream
from relay_trio.testing.http_text import Malformed
from relay_trio.testing.link import PeerGone
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.shapes import SMALL_BUFFER, chat

pytestmark = pytest.mark.anyio

DAY_S = 24 * 3600
REQUESTS = 4320
"""One in twenty seconds: ten seconds of CPU, beside half a minute for the day itself, its 345,600 heartbeats and their kin."""
EVERY_S = DAY_S / REQUESTS
TOTAL_S = 900
LOOK_S = 60

FAULTS = (
    "silent-before-head", "silent-mid-head", "silent-after-head", "silent-mid-body", "silent-before-end",
    "silent-mid-body;status=429", "silent-mid-body;status=503", "silent-after-head;status=503", "late-head", "late-body",
    "slow-body", "endless-comments", "endless-interim;interval=30", "length-too-large", "never-reads",
    "close-after-request", "reset-after-request", "close-mid-head", "reset-mid-body", "truncated-length",
    "truncated-chunked", "truncated-mid-chunk", "close-unannounced", "reset-unannounced", "close-on-reuse",
    "reset-on-reuse", "stray-bytes", "garbage", "bad-status-line", "bad-chunk-size", "chunk-too-long", "lengths-differ",
    "error-in-200", "error-event", "error-event-first", "html-200", "json-for-stream", "empty-200", "bad-json",
    "garbage-in-body", "no-terminal-event", "gzip-truncated", "unknown-encoding", "retry-after-seconds", "html-503",
    "empty-error", "answer;status=401", "answer;status=500", "answer;status=429", "truncated-length;status=503",
    "truncated-chunked;status=429",
)  # fmt: skip
"""Every nature of fault that costs no more CPU than an answer: a byte a second for 900 s would be a day's work by itself."""


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold the day against the oracle."""


# ---- The clients of a day

Client = Callable[[FakeClient, bytes], Awaitable[None]]


async def patient(client: FakeClient, request: bytes) -> None:
    """Read whatever comes, to its end."""
    await client.send(request)
    await client.read_response()


async def leaves_at_once(client: FakeClient, request: bytes) -> None:
    """Leave before the head, without a word."""
    await client.send(request)
    await trio.sleep(0.5)
    client.close()


async def resets_later(client: FakeClient, request: bytes) -> None:
    """Lose the connection after twenty seconds."""
    await client.send(request)
    with trio.move_on_after(20):
        await client.read_response()
    client.reset()


async def half_a_body(client: FakeClient, request: bytes) -> None:
    """Stop in the middle of the request."""
    await client.send(request[:-10])
    await client.read_response()


async def stops_reading(client: FakeClient, request: bytes) -> None:
    """Take nothing of the answer until the relay has given up."""
    await client.send(request)
    await trio.sleep(TOTAL_S + 2 * CLEANUP_S)


CLIENTS: tuple[tuple[Client, int], ...] = (
    (patient, 85),
    (leaves_at_once, 5),
    (resets_later, 5),
    (half_a_body, 3),
    (stops_reading, 2),
)


@attrs.frozen
class Visit:
    """One request of the day."""

    request: bytes
    client: Client


def visits(chance: random.Random) -> Iterator[Visit]:
    """Yield the day's requests: every other one is good, the others take the faults in turn."""
    faults = itertools.cycle(FAULTS)
    clients, weights = zip(*CLIENTS, strict=True)
    for number in range(REQUESTS):
        model = "fake-small" if number % 2 else f"fault:{next(faults)}"
        request = chat(key=CLIENT_KEY, model=model, stream=chance.random() < 0.7)
        yield Visit(request, chance.choices(clients, weights)[0])


@attrs.define
class Curve:
    """How many requests lived, looked at once a minute."""

    live: list[int] = attrs.field(factory=list)

    async def watch(self, stand: Stand) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.live.append(len(stand.relay.running.services.registry))

    def quarters(self) -> list[float]:
        """Return the mean of each quarter of the day."""
        size = len(self.live) // 4
        return [sum(self.live[at : at + size]) / size for at in range(0, 4 * size, size)]


async def visit(stand: Stand, what: Visit) -> None:
    """Be one client of the day."""
    small = SMALL_BUFFER if what.client is stops_reading else None
    try:
        async with connect(stand.address, receive_buffer=small) as client:
            await what.client(client, what.request)
    except (PeerGone, Malformed):
        return  # an answer that broke is what some of them must get


async def test_a_day_of_mixed_faults_leaves_the_curve_flat(tmp_path: Path) -> None:
    """Two channels, so that fallback has its part. The bound is the load: so many come in one longest life."""
    curve = Curve()
    chance = random.Random(2026)  # noqa: S311 - the same day every day
    async with open_fake_upstream() as first, open_fake_upstream() as second:
        toml = channel_table("first", first, "priority = 1") + channel_table("second", second)
        async with open_with(tmp_path, toml) as relay, trio.open_nursery() as nursery:
            relay.log.lines = deque(maxlen=100 * REQUESTS)
            stand = Stand(relay, second, first)
            nursery.start_soon(curve.watch, stand)
            async with trio.open_nursery() as day:
                for each in visits(chance):
                    day.start_soon(visit, stand, each)
                    await trio.sleep(EVERY_S)
            await relay.wait_at_rest()
            nursery.cancel_scope.cancel()
            check_curve(curve)
            check_lines(relay.finished())
            assert first.request_count + second.request_count > REQUESTS
            await stand.rest()
            assert relay.running.services.registry.balance.request_scopes.opened == REQUESTS


def check_curve(curve: Curve) -> None:
    """Hold the curve against the load and against itself."""
    assert len(curve.live) >= DAY_S / LOOK_S
    most = (TOTAL_S + CLEANUP_S) / EVERY_S + 1
    assert max(curve.live) <= most
    first, *others = curve.quarters()
    assert 1 < first < most
    assert all(abs(other - first) / first < 0.25 for other in others), curve.quarters()


def check_lines(lines: list[dict[str, object]]) -> None:
    """Hold the log to a line for each request, none of which left anything open or lived too long."""
    assert len(lines) == REQUESTS
    assert {line["left_open"] for line in lines} == {0}
    assert all(float(str(line["ms_total"])) <= (TOTAL_S + CLEANUP_S) * 1000 for line in lines)
    outcomes = Counter(line["outcome"] for line in lines)
    assert outcomes["completed"] > REQUESTS / 2
    assert set(outcomes) == {"completed", "upstream_error", "deadline_exceeded", "client_disconnected", "rejected"}
