"""Silent streams are kept awake by helpers of their own, as often as configured and as their clients need."""

from __future__ import annotations

import attrs
import pytest
import trio
from parts import Wire, exchange, scope

from relay_trio.relay.pacemaker import Pacemaker
from relay_trio.scopes.phase import Limit, limit_reached
from relay_trio.settings.model import Settings
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio

SETTINGS = Settings()
LOOK_S = 0.5


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


@pytest.mark.parametrize(
    ("headers", "after", "interval"),
    [
        ([], 10, 15),
        ([(b"x-stainless-read-timeout", b"600")], 10, 15),
        ([(b"x-stainless-read-timeout", b"8")], 4, 4),
        ([(b"x-stainless-timeout", b"26")], 10, 13),
        ([(b"x-server-timeout", b"3")], 1.5, 1.5),
        ([(b"x-stainless-read-timeout", b"600"), (b"x-stainless-timeout", b"12")], 6, 6),
        ([(b"x-stainless-read-timeout", b"NOT_GIVEN")], 10, 15),
        ([(b"x-stainless-read-timeout", b"-1")], 10, 15),
    ],
)
async def test_the_pace_is_the_settings_or_what_a_client_bears(
    headers: list[tuple[bytes, bytes]], after: float, interval: float
) -> None:
    """Twice in the longest silence that it announces."""
    one = exchange(scope(), Wire(), headers=headers)
    Pacemaker().watch(one, SETTINGS)
    assert (one.keepalive_after, one.keepalive_interval) == (after, interval)


async def test_an_interval_of_0_switches_it_off() -> None:
    """Also the first one."""
    one = exchange(scope(), Wire())
    Pacemaker().watch(one, attrs.evolve(SETTINGS, keepalive_interval=0))
    assert one.keepalive_due() == float("inf")


async def test_a_silent_stream_is_kept_awake_until_it_is_forgotten() -> None:
    """In its own nursery: a helper of the request, counted and ended with it."""
    pacemaker, wire = Pacemaker(), Wire()
    async with trio.open_nursery() as services:
        services.start_soon(pacemaker.run)
        async with scope() as live:
            one = exchange(live, wire)
            pacemaker.watch(one, SETTINGS)
            await trio.sleep(10 - LOOK_S / 2)
            assert wire.bodies == []
            await trio.sleep(LOOK_S)
            assert len(wire.bodies) == 1
            await trio.sleep(30 + 2 * LOOK_S)
            assert len(wire.bodies) == 3
            pacemaker.forget(one)
            pacemaker.forget(one)
            await trio.sleep(100)
            assert len(wire.bodies) == 3
        services.cancel_scope.cancel()


async def test_nothing_follows_an_error_event() -> None:
    """The total and a keep-alive may be due at the same moment: the error is the last that the client hears."""
    wire = Wire()
    async with scope() as live:
        one = exchange(live, wire)
        one.streaming = True
        await one.keepalive()
        await one.fail(limit_reached("headers", Limit(100, "RELAY_TIMEOUT")))
        told = list(wire.bodies)
        assert one.keepalive_due() == float("inf")
        await one.keepalive()
        assert wire.bodies == told
        assert b'"error"' in told[-1]


async def test_a_stream_that_cannot_be_written_costs_the_others_nothing() -> None:
    """Each has a helper of its own."""
    pacemaker, stuck, good = Pacemaker(), Wire(stuck=True), Wire()
    async with trio.open_nursery() as services:
        services.start_soon(pacemaker.run)
        async with scope() as first, scope() as second:
            for live, wire in ((first, stuck), (second, good)):
                pacemaker.watch(exchange(live, wire), SETTINGS)
            await trio.sleep(60)
            assert len(good.bodies) == 4
            assert len(first.helpers) == 1, "one keep-alive at a time, however long it takes"
            first.cancel_helpers_at_end()
        services.cancel_scope.cancel()
