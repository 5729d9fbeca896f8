"""What is counted is what is there: the registry against trio's own task tree."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import TOTAL

from relay_trio.errors import Ended
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.scopes.shielded import shielded
from relay_trio.settings.model import CLEANUP_S
from relay_trio.testing import oracle
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


def registry() -> NurseryRegistry:
    return NurseryRegistry(Balance())


async def live(book: NurseryRegistry, name: str, helpers: int = 0) -> None:
    """Be a request with so many helpers until it is cancelled."""
    async with RequestScope(book, name, TOTAL) as one:
        for number in range(helpers):
            one.start_soon(trio.sleep_forever, name=f"helper {number}")
        await trio.sleep_forever()


def of_requests(counted: dict[str, int], name: str) -> int:
    """Return how many of these tasks belong to requests of this test."""
    return sum(count for task, count in counted.items() if name in task)


PLAN = st.lists(st.tuples(st.sampled_from(["open", "close"]), st.integers(0, 3)), max_size=25)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLAN)
async def test_the_count_is_the_number_in_trios_own_tree(plan: list[tuple[str, int]]) -> None:
    """After every opening and closing, in any order: nurseries and tasks, none more and none less."""
    book = registry()
    serial = 0
    async with trio.open_nursery() as nursery:
        for step, number in plan:
            if step == "open":
                serial += 1
                nursery.start_soon(live, book, f"r{serial}", number, name=f"connection {serial}")
            elif len(book):
                scopes = list(book)
                scopes[number % len(scopes)].cancel(Ended.CLIENT_DISCONNECTED)
            await trio.testing.wait_all_tasks_blocked()
            tasks, nurseries = oracle.tasks_and_nurseries()
            assert len(book) == of_requests(nurseries, "connection ") == book.balance.nurseries.live
            assert book.balance.tasks.live == of_requests(tasks, "request r")
        nursery.cancel_scope.cancel()
    assert len(book) == 0
    assert all(count.live == 0 for count in book.balance.counts().values())


async def test_the_oldest_and_the_named_are_found() -> None:
    """Of those that clients called alike, the oldest."""
    book = registry()
    assert book.oldest() is None
    async with RequestScope(book, "a", TOTAL) as first, RequestScope(book, "b", TOTAL), RequestScope(book, "a", TOTAL):
        assert book.oldest() is first
        assert book.find("a") is first
        assert book.find("c") is None


async def test_overdue_is_what_is_past_its_deadline_and_the_clean_up_after_it() -> None:
    """Each by its own deadline; to the moment."""
    book = registry()
    async with trio.open_nursery() as nursery:
        for name, seconds in (("short", 10), ("long", 20)):
            nursery.start_soon(stay_too_long, book, name, Limit(seconds, "RELAY_TIMEOUT"))
        for now, overdue in ((10 + CLEANUP_S, []), (10 + CLEANUP_S + 0.1, ["short"]), (30, ["long", "short"])):
            await trio.sleep_until(now)
            assert sorted(scope.id for scope in book.overdue()) == overdue


async def stay_too_long(book: NurseryRegistry, name: str, total: Limit) -> None:
    """Be a request that does not end when it is told to, but in the end."""
    async with RequestScope(book, name, total):
        with shielded(100):
            await trio.sleep_until(40)


async def test_who_waits_for_closings_is_told_of_each() -> None:
    """No look is missed, and nobody waits for what is already so."""
    book = registry()
    with trio.testing.assert_checkpoints():
        await trio.lowlevel.checkpoint()
        await book.wait_until(lambda: True)
    seen: list[int] = []

    def two_left() -> bool:
        seen.append(len(book))
        return len(book) == 2

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(live, book, f"r{number}")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(book.wait_until, two_left)
        for name in ("r0", "r1"):
            await trio.testing.wait_all_tasks_blocked()
            found = book.find(name)
            assert found is not None
            found.cancel(Ended.CLIENT_DISCONNECTED)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [4, 3, 2]
        nursery.cancel_scope.cancel()


async def test_the_peak_is_of_the_last_hour_and_the_last_day() -> None:
    """A rush is remembered for as long as each span is, and no longer."""
    book = registry()
    async with RequestScope(book, "a", TOTAL), RequestScope(book, "b", TOTAL), RequestScope(book, "c", TOTAL):
        assert (book.peak().hour, book.peak().day) == (3, 3)
    spans = {0: (3, 3), 1: (3, 3), 59: (3, 3), 62: (0, 3), 24 * 60 + 2: (0, 0)}
    for minute in range(24 * 60 + 3):
        if minute in spans:
            assert (book.peak().hour, book.peak().day) == spans[minute], minute
        book.turn_minute()
