"""Slots and bytes: who may start, who waits, who is told to come again, and that nothing is lost on any way out."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from relay_trio.errors import BodyTooLarge, KeyLimitReached, Overloaded
from relay_trio.relay.admission import Admission, AdmissionStatistics, BufferBudget
from relay_trio.scopes.balance import Count
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio

QUEUE = Limit(30, "RELAY_QUEUE_TIMEOUT")


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


def clock() -> PhaseClock:
    return PhaseClock()


def admission(slots: int, max_queue: int = 100) -> tuple[Admission, Count]:
    count = Count()
    return Admission(slots, max_queue, QUEUE, count), count


# ---- Slots


async def test_a_free_slot_costs_no_wait() -> None:
    """No checkpoint, and no queue phase in the log."""
    slots, count = admission(1)
    mine = clock()
    with trio.testing.assert_no_checkpoints():
        await slots.take("k", None, mine)
    assert "queue" not in mine.spent
    assert (slots.statistics(), count.live) == (AdmissionStatistics(live=1, queued=0, slots=1), 1)
    slots.give_back("k")
    assert (slots.statistics().live, count.live) == (0, 0)


async def test_who_waits_is_served_in_order() -> None:
    """And its wait is in the clock."""
    slots, _ = admission(1)
    served: list[int] = []
    await slots.take("k", None, clock())

    async def wait(number: int) -> None:
        mine = clock()
        await slots.take("k", None, mine)
        mine.stop()
        served.append(number)
        assert mine.milliseconds("queue") == pytest.approx(5000 - number * 1000, abs=1)
        slots.give_back("k")

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(wait, number)
            await trio.sleep(1)
        assert slots.statistics().queued == 4
        await trio.sleep(1)
        slots.give_back("k")
    assert served == [0, 1, 2, 3]
    assert slots.statistics() == AdmissionStatistics(live=0, queued=0, slots=1)


async def test_a_newcomer_does_not_overtake_the_queue() -> None:
    """A slot that was given back belongs to who waits."""
    slots, _ = admission(1)
    await slots.take("k", None, clock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.take, "first", None, clock())
        await trio.testing.wait_all_tasks_blocked()
        slots.give_back("k")
        with trio.move_on_after(1) as patience:
            await slots.take("second", None, clock())
        assert patience.cancelled_caught
    slots.give_back("first")


async def test_a_full_queue_is_told_with_its_numbers() -> None:
    """At once."""
    slots, count = admission(2, max_queue=0)
    for _ in range(2):
        await slots.take("k", None, clock())
    with pytest.raises(Overloaded, match=r"queue 0/0, slots 2/2") as raised:
        await slots.take("k", None, clock())
    assert raised.value.retry_after == 1
    assert count.opened == 2
    for _ in range(2):
        slots.give_back("k")


async def test_waiting_too_long_and_leaving_cost_nothing() -> None:
    """Neither a slot nor a place, neither of the relay nor of the key."""
    slots, count = admission(1)
    await slots.take("k", 5, clock())
    with pytest.raises(Overloaded, match="RELAY_QUEUE_TIMEOUT"):
        await slots.take("k", 5, clock())
    with trio.move_on_after(3):
        await slots.take("k", 5, clock())
    assert (slots.statistics(), count.opened) == (AdmissionStatistics(live=1, queued=0, slots=1), 1)
    slots.give_back("k")
    for _ in range(3):
        await slots.take("k", 1, clock())
        slots.give_back("k")
    assert (count.opened, count.closed) == (4, 4)


async def test_a_slot_that_comes_in_the_last_moment_is_not_lost() -> None:
    """Given and cancelled in the same step: the slot is had or passed on, never both or neither."""
    slots, count = admission(1)
    await slots.take("k", None, clock())
    had = False

    async def wait() -> None:
        nonlocal had
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await slots.take("late", None, clock())
            had = True

    scopes: list[trio.CancelScope] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        slots.give_back("k")
        scopes[0].cancel()
    assert slots.statistics().live == count.live == int(had)


async def test_a_keys_own_limit_is_told_with_its_numbers() -> None:
    """Other keys go on."""
    slots, _ = admission(10)
    for _ in range(2):
        await slots.take("narrow", 2, clock())
    with pytest.raises(KeyLimitReached, match="2/2") as raised:
        await slots.take("narrow", 2, clock())
    assert (raised.value.status, raised.value.retry_after) == (429, 1)
    await slots.take("other", 2, clock())
    slots.give_back("narrow")
    await slots.take("narrow", 2, clock())


async def test_a_keys_limit_counts_those_that_wait() -> None:
    """They will run."""
    slots, _ = admission(1)
    await slots.take("other", None, clock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.take, "narrow", 1, clock())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(KeyLimitReached):
            await slots.take("narrow", 1, clock())
        slots.give_back("other")
    slots.give_back("narrow")


# ---- Bytes


def budget(size: int) -> tuple[BufferBudget, Count]:
    count = Count()
    return BufferBudget(size, QUEUE, count), count


async def test_bytes_are_held_for_the_block_and_no_longer() -> None:
    """Whatever ends it."""
    bytes_, count = budget(100)
    with bytes_.reservation() as held:
        await held.grow(60, clock())
        assert held.grow_nowait(40)
        assert not held.grow_nowait(1)
        assert (bytes_.used, count.live) == (100, 1)
    with suppress(BodyTooLarge), bytes_.reservation() as held:
        await held.grow(10, clock())
        await held.grow(1000, clock())
    assert (bytes_.used, count.live) == (0, 0)


async def test_what_does_not_fit_waits_until_it_does() -> None:
    """On the queue's clock; then the request is back in the phase that it came from."""
    bytes_, _ = budget(100)
    mine = clock()
    mine.enter("body")

    async def hold_for_a_while() -> None:
        with bytes_.reservation() as held:
            await held.grow(80, clock())
            await trio.sleep(7)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for_a_while)
        await trio.testing.wait_all_tasks_blocked()
        with bytes_.reservation() as held:
            await held.grow(50, mine)
            assert (bytes_.used, mine.current) == (50, "body")
    assert mine.milliseconds("queue") == pytest.approx(7000)
    assert bytes_.used == 0


async def test_what_never_fits_is_refused_at_once() -> None:
    """413: waiting would not help."""
    bytes_, _ = budget(100)
    with bytes_.reservation() as held, pytest.raises(BodyTooLarge, match="100 bytes"):
        await held.grow(101, clock())
    assert bytes_.used == 0


async def test_who_waits_for_bytes_too_long_or_leaves_holds_none() -> None:
    """503 with the clock's name; a cancelled wait holds nothing."""
    bytes_, count = budget(100)
    with bytes_.reservation() as first:
        await first.grow(100, clock())
        with bytes_.reservation() as second, pytest.raises(Overloaded, match="RELAY_QUEUE_TIMEOUT"):
            await second.grow(1, clock())
        with trio.move_on_after(1), bytes_.reservation() as third:
            await third.grow(1, clock())
        assert (bytes_.used, count.live) == (100, 1)
    assert bytes_.used == 0
