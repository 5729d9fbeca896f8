"""The watchdog: silent on a healthy day, a warning, an error, what is overdue with its stacks, a loop that was blocked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from parts import TOTAL, KeptLog

from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.scopes.shielded import shielded
from relay_trio.scopes.watchdog import HEARTBEAT_S, STALL_S, Watchdog
from relay_trio.settings.model import CLEANUP_S
from relay_trio.settings.model import Watchdog as WatchdogSettings
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


class Watched:
    """A watchdog with what it watches."""

    def __init__(self, **settings: Any) -> None:
        self.book = NurseryRegistry(Balance())
        self.log = KeptLog()
        self.connections = 0
        self.settings = WatchdogSettings(**{"warn": 3, "error": 5, **settings})
        self.dog = Watchdog(self.book, self.log, lambda: self.settings, lambda: self.connections, lambda: 42.0)

    @asynccontextmanager
    async def requests(self, count: int) -> AsyncIterator[list[RequestScope]]:
        """Open so many requests for the length of the block."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(RequestScope(self.book, f"r{number}", TOTAL)) for number in range(count)
            ]


@pytest.mark.parametrize(
    ("live", "level"), [(0, "ok"), (2, "ok"), (3, "warning"), (4, "warning"), (5, "error"), (9, "error")]
)
async def test_the_number_of_live_nurseries_makes_the_level(live: int, level: str) -> None:
    """Silent below the first threshold but for debug, one line at each look above it."""
    watched = Watched()
    async with watched.requests(live):
        assert watched.dog.judge().level == level
        assert watched.log.lines == [], "to judge is not to speak"
        finding = watched.dog.look()
    ((said, event, fields),) = watched.log.lines
    assert (said, event) == ("debug" if level == "ok" else level, "watchdog")
    assert fields["nurseries"] == live
    assert len(finding.reasons) == (0 if level == "ok" else 1)
    if level != "ok":
        threshold = {"warning": 3, "error": 5}[level]
        assert finding.reasons == (f"{live} live nurseries ({level} from {threshold})",)
        assert watched.dog.findings[level] == 1


async def test_it_looks_in_its_interval_and_follows_a_reload() -> None:
    """As long as it runs."""
    watched = Watched(interval=30.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.dog.run)
        await trio.sleep(95)
        assert len(watched.log.lines) == 3
        watched.settings = WatchdogSettings(interval=1.0)
        await trio.sleep(30)
        assert len(watched.log.lines) == pytest.approx(3 + 5, abs=1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("interval", [1.0, 45.0, 3600.0])
async def test_minutes_are_minutes_whatever_the_interval(interval: float) -> None:
    """The peak of the last hour is of the last hour."""
    watched = Watched(interval=interval)
    async with watched.requests(4):
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.dog.run)
        await trio.sleep(50 * 60)
        assert watched.book.peak().hour == 4
        await trio.sleep(75 * 60)
        assert (watched.book.peak().hour, watched.book.peak().day) == (0, 4)
        nursery.cancel_scope.cancel()


async def test_a_line_names_the_oldest_and_its_phase() -> None:
    """And what the growth is explained by."""
    watched = Watched(warn=1)
    async with watched.requests(2) as (oldest, _):
        oldest.clock.enter("headers")
        await trio.sleep(100)
        watched.connections = 2
        watched.dog.look()
        watched.dog.look()
    async with watched.requests(4):
        watched.dog.look()
    first, second, third = (fields for _, fields in watched.log.said("warning"))
    assert first["oldest"] == {"request_id": "r0", "phase": "headers", "age_s": 100, "left_s": 800}
    assert (first["since_last_look"], first["explained_by_load"]) == (2, True)
    assert (second["since_last_look"], second["explained_by_load"]) == (0, True)
    assert (third["since_last_look"], third["explained_by_load"]) == (2, False), "requests without connections"
    assert (first["rss_mb"], first["overdue"]) == (42.0, None)


async def test_what_is_overdue_is_an_error_with_its_stacks() -> None:
    """A scope past its deadline and its clean-up means that a guarantee is broken: the line says where it waits."""
    watched = Watched()

    async def a_clean_up_without_bound() -> None:
        with shielded(1000):
            await trio.sleep(100)

    async with trio.open_nursery() as nursery:

        async def request() -> None:
            async with RequestScope(watched.book, "late", Limit(10, "RELAY_TIMEOUT")) as one:
                one.start_soon(a_clean_up_without_bound, name="helper")
                await a_clean_up_without_bound()

        nursery.start_soon(request)
        await trio.sleep(10 + CLEANUP_S)
        assert watched.dog.look().level == "ok"
        await trio.sleep(0.1)
        assert watched.dog.look().level == "error"
    ((event, fields),) = watched.log.said("error")
    assert event == "watchdog"
    shown: Any = fields["overdue"]
    (overdue,) = shown
    assert overdue["request_id"] == "late"
    assert overdue["left_s"] == -5.1
    stacks = overdue["stacks"]
    assert len(stacks) == 2
    assert "request late: helper" in stacks
    for stack in stacks.values():
        assert any("a_clean_up_without_bound" in line for line in stack)


async def test_many_that_are_overdue_make_one_line() -> None:
    """Five of them are shown (guarantee G7)."""
    watched = Watched(warn=100, error=100)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sheltered())
        for number in range(8):
            await stack.enter_async_context(RequestScope(watched.book, f"r{number}", Limit(1, "RELAY_TIMEOUT")))
        with shielded(100):
            await trio.sleep(20)
            finding = watched.dog.look()
    assert finding.reasons == ("8 request scopes are past their deadline and its clean-up",)
    ((_, fields),) = watched.log.said("error")
    assert len(fields["overdue"]) == 5  # type: ignore[arg-type] # it is a list


@asynccontextmanager
async def sheltered() -> AsyncIterator[None]:
    """Take the cancellation of what ends inside."""
    with trio.CancelScope():
        yield


Backend = tuple[str, dict[str, trio.testing.MockClock]]


async def beat_through_a_jump(watched: Watched, backend: Backend, seconds: float) -> None:
    """Run the heartbeat for a while in which nothing runs for so many seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.dog.beat)
        await trio.sleep(1.1)
        backend[1]["clock"].jump(seconds)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()


async def test_a_loop_that_was_blocked_is_told_with_how_long(anyio_backend: Backend) -> None:
    """Every stream of the process has waited for so long."""
    watched = Watched()
    await beat_through_a_jump(watched, anyio_backend, 2.0)
    ((event, fields),) = watched.log.said("warning")
    assert event == "loop_blocked"
    assert fields["blocked_s"] == pytest.approx(2, abs=HEARTBEAT_S)
    assert (watched.dog.lag.stalls, watched.dog.lag.worst) == (1, fields["blocked_s"])


async def test_a_loop_that_is_a_little_late_is_measured_only(anyio_backend: Backend) -> None:
    """A garbage collection is no finding. Each look begins a new measure."""
    watched = Watched()
    await beat_through_a_jump(watched, anyio_backend, STALL_S)
    assert watched.log.lines == []
    assert 0 < watched.dog.lag.worst < STALL_S
    watched.dog.look()
    assert watched.dog.lag.worst == watched.dog.lag.last == 0
