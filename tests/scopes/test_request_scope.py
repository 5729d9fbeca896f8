"""A request is a nursery: how it begins, how it ends, and that nothing outlives it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from parts import TOTAL, scope

from relay_trio.errors import Ended
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


def registry() -> NurseryRegistry:
    return NurseryRegistry(Balance())


def even(balance: Balance) -> bool:
    """Every kind of thing was closed as often as it was opened."""
    return all(count.live == 0 for count in balance.counts().values())


async def test_a_scope_ends_with_its_work() -> None:
    """It is entered for exactly as long as its nursery is open."""
    book = registry()
    one = scope(registry=book)
    assert len(book) == 0
    async with one:
        assert list(book) == [one]
        assert one.task is trio.lowlevel.current_task()
        assert book.balance.request_scopes.live == book.balance.nurseries.live == 1
    assert len(book) == 0
    assert even(book.balance)


async def test_a_scope_ends_at_its_deadline() -> None:
    """With everything in it, quietly: the work has seen a cancellation and has told of it."""
    book = registry()
    async with RequestScope(book, "r", Limit(5, "RELAY_TIMEOUT")) as one:
        one.start_soon(trio.sleep_forever, name="helper")
        await trio.sleep_forever()
    assert trio.current_time() == 5
    assert one.time_left == 0
    assert even(book.balance)


@pytest.mark.parametrize("reason", [Ended.CLIENT_DISCONNECTED, Ended.CANCELLED_BY_OPERATOR, Ended.DRAINED])
async def test_a_scope_ends_when_it_is_cancelled_from_outside(reason: Ended) -> None:
    """At once; the first reason stands."""
    book = registry()

    async def outside(one: RequestScope) -> None:
        await trio.sleep(3)
        one.cancel(reason)
        one.cancel(Ended.DRAINED)

    async with trio.open_nursery() as nursery, RequestScope(book, "r", TOTAL) as one:
        one.start_soon(trio.sleep_forever, name="helper")
        nursery.start_soon(outside, one)
        await trio.sleep_forever()
    assert trio.current_time() == 3
    assert one.cancelled_for is reason
    assert even(book.balance)


async def test_a_scope_that_is_cancelled_before_it_begins_ends_at_its_first_await() -> None:
    """The client may have left by then."""
    one = scope()
    one.cancel(Ended.CLIENT_DISCONNECTED)
    reached = []
    async with one:
        reached.append("begin")
        await trio.lowlevel.checkpoint()
        reached.append("after")
    assert reached == ["begin"]


async def test_a_scope_ends_with_what_is_around_it() -> None:
    """A server that goes down."""
    book = registry()
    with trio.move_on_after(2):
        async with scope(registry=book) as one:
            one.start_soon(trio.sleep_forever, name="helper")
            await trio.sleep_forever()
    assert even(book.balance)


async def test_helpers_are_counted_named_and_seen() -> None:
    """And are gone from all of it when they end."""
    book = registry()
    async with scope(registry=book, request_id="req_7") as one:
        one.start_soon(trio.sleep, 1.0, name="keep-alive")
        await trio.testing.wait_all_tasks_blocked()
        assert [task.name for task in one.helpers] == ["request req_7: keep-alive"]
        assert book.balance.tasks.live == 1
        await trio.sleep(2)
        assert (one.helpers, book.balance.tasks.live) == (frozenset(), 0)


async def test_helpers_end_with_the_work() -> None:
    """None keeps the scope open."""
    book = registry()
    async with scope(registry=book) as one:
        one.start_soon(trio.sleep_forever, name="helper")
        await trio.testing.wait_all_tasks_blocked()
        one.cancel_helpers_at_end()
    assert trio.current_time() == 0
    assert even(book.balance)


async def test_without_helpers_nothing_is_cancelled_at_the_end() -> None:
    """The connection goes on behind the request."""
    async with scope() as one:
        one.cancel_helpers_at_end()
        await trio.lowlevel.checkpoint()


async def test_a_helpers_crash_ends_its_own_request() -> None:
    """And reaches nobody else: it is kept for the request's own door."""
    book = registry()

    async def crash() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError

    async with scope(registry=book) as bystander:
        async with scope(registry=book) as one:
            one.start_soon(crash, name="helper")
            await trio.sleep_forever()
        assert isinstance(one.crash, ZeroDivisionError)
        one.crash = None
        await trio.lowlevel.checkpoint()
        assert bystander.cancelled_for is None
    assert even(book.balance)


async def test_an_exception_of_the_work_leaves_nothing_behind() -> None:
    """It passes through, and the books are even."""
    book = registry()
    with pytest.RaisesGroup(ZeroDivisionError):
        async with scope(registry=book) as one:
            one.start_soon(trio.sleep_forever, name="helper")
            raise ZeroDivisionError
    assert even(book.balance)


async def test_the_age_and_what_is_left_follow_the_clock() -> None:
    """Also past the deadline."""
    one = scope(Limit(10, "RELAY_TIMEOUT"))
    for seconds in (0, 10, 11):
        await trio.sleep_until(seconds)
        assert one.age == pytest.approx(seconds)
        assert one.time_left == pytest.approx(10 - seconds)


async def test_a_name_says_what_it_is() -> None:
    """For the eyes of whoever debugs."""
    assert repr(scope(request_id="req_9")) == "<RequestScope req_9 starting>"
    checks: list[Callable[[], object]] = [lambda: repr(registry())]
    assert [check() for check in checks] == ["<NurseryRegistry 0 live>"]
