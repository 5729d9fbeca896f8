"""The clocks of phases: which one fires, what it says, and what passes through it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from relay_trio.errors import BodyTooSlow, LimitReached, Overloaded, RelayError
from relay_trio.scopes.phase import (
    PHASE_NAMES,
    UNLIMITED,
    Limit,
    LimitedPhase,
    LimitedWhole,
    PhaseClock,
    limit_reached,
)
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio

LIMIT = Limit(5, "RELAY_HEADER_TIMEOUT")


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


async def fires(phase: LimitedPhase, work: Callable[[LimitedPhase], Awaitable[None]]) -> RelayError:
    """Return the error with which the phase ends the work."""

    async def limited() -> None:
        with phase:
            await work(phase)

    with pytest.raises(RelayError) as raised:
        await limited()
    return raised.value


async def test_a_phase_that_takes_too_long_says_which_it_was() -> None:
    """And whose limit."""
    with pytest.raises(LimitReached) as raised, LimitedPhase("headers", LIMIT):
        await trio.sleep_forever()
    error = raised.value
    assert (error.phase, error.limit_s, error.setting) == ("headers", 5, "RELAY_HEADER_TIMEOUT")
    assert error.message.startswith("The provider sent no response headers within 5 s (limit RELAY_HEADER_TIMEOUT).")
    assert trio.current_time() == 5


async def test_a_phase_in_time_says_nothing() -> None:
    """Nor does one that ends in an exception of its own."""
    with LimitedPhase("headers", LIMIT):
        await trio.sleep(4.9)
    with pytest.raises(ZeroDivisionError), LimitedPhase("headers", LIMIT):
        raise ZeroDivisionError


async def test_an_outer_cancellation_passes_through() -> None:
    """Also one that comes in the same moment: then the outer one is the reason."""
    for outer_s in (3, 5):
        with trio.move_on_after(outer_s) as outer:
            with LimitedPhase("headers", LIMIT):
                await trio.sleep_forever()
        assert outer.cancelled_caught


async def test_progress_starts_a_clock_again_and_a_pause_stops_it() -> None:
    """Each of the ways in which a phase may go on."""

    async def work(phase: LimitedPhase) -> None:
        for _ in range(10):
            await trio.sleep(4)
            phase.progress()
        phase.pause()
        await trio.sleep(1000)
        phase.progress()
        await trio.sleep_forever()

    await fires(LimitedPhase("idle", LIMIT), work)
    assert trio.current_time() == 1045


async def test_a_clock_may_be_shortened_to_what_is_left_of_it() -> None:
    """It still says its whole limit. Nothing left is no time at all."""
    for left_s in (2, 0, -3):
        before = trio.current_time()

        async def work(phase: LimitedPhase, left_s: float = left_s) -> None:
            phase.shorten(left_s)
            await trio.sleep_forever()

        error = await fires(LimitedPhase("body", Limit(5, "X")), work)
        assert isinstance(error, BodyTooSlow)
        assert "5 s (limit X)" in error.message
        assert trio.current_time() - before == max(left_s, 0)


async def test_a_clock_may_turn_into_another() -> None:
    """What was waited for has come; from then on the other one runs, and speaks."""

    async def work(phase: LimitedPhase) -> None:
        await trio.sleep(4)
        phase.turn_into("idle", Limit(7, "RELAY_IDLE_TIMEOUT"))
        await trio.sleep_forever()

    error = await fires(LimitedPhase("first_event", LIMIT), work)
    assert "fell silent" in error.message
    assert (error.phase, trio.current_time()) == ("idle", 11)


async def test_a_clock_that_is_off_never_fires() -> None:
    """The total alone bounds the phase then."""
    with trio.move_on_after(10**6) as patience, LimitedPhase("first_event", UNLIMITED):
        await trio.sleep_forever()
    assert patience.cancelled_caught


async def test_a_limit_over_several_phases_names_the_one_it_fired_in() -> None:
    """A channel's own total."""
    clock = PhaseClock()

    async def work(_: LimitedPhase) -> None:
        clock.enter("connect")
        await trio.sleep(3)
        clock.enter("headers")
        await trio.sleep_forever()

    error = await fires(LimitedWhole(clock, Limit(9, "RELAY_TIMEOUT of the channel")), work)
    assert (error.phase, error.setting) == ("headers", "RELAY_TIMEOUT of the channel")


async def test_a_clock_knows_how_long_each_phase_took() -> None:
    """All visits together; the last one too, once it was stopped; what never was is not there."""
    clock = PhaseClock()
    for phase, seconds in (("queue", 1), ("headers", 2), ("queue", 3), ("stream", 4)):
        clock.enter(phase)
        await trio.sleep(seconds)
    assert clock.milliseconds("stream") is None
    clock.stop()
    assert [clock.milliseconds(phase) for phase in ("queue", "headers", "stream", "connect")] == [
        4000,
        2000,
        4000,
        None,
    ]
    assert clock.current == "stream"


@pytest.mark.parametrize("phase", PHASE_NAMES)
def test_a_limit_in_every_phase_is_told_in_full(phase: str) -> None:
    """The one table of clocks: phase, limit, setting, a code and a status of its own kind."""
    error = limit_reached(phase, Limit(0.5, "X"))
    assert (error.phase, error.limit_s, error.setting) == (phase, 0.5, "X")
    assert "0.5 s (limit X)" in error.message
    assert error.code is not None
    assert error.code.endswith("_timeout")
    kinds: dict[str, type[RelayError]] = {"queue": Overloaded, "body": BodyTooSlow}
    assert type(error) is kinds.get(phase, LimitReached)
    assert (error.retry_after is not None) is (phase == "queue")


def test_the_stricter_of_two_limits() -> None:
    """Ours where they are alike."""
    a, b = Limit(5, "A"), Limit(7, "B")
    assert a.shorter(b) == b.shorter(a) == a
    assert a.shorter(Limit(5, "C")) == a
