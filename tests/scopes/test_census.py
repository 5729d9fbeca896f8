"""What there really is, against what the counts say: a stray task, nursery or socket is told, and so is a wrong count."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
import trio
import trio.testing
from parts import TOTAL

from relay_trio.scopes.balance import Balance
from relay_trio.scopes.census import Baseline, Known, await_stack, count_tasks, take_census, unaccounted
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.telemetry.process import socket_descriptors
from relay_trio.testing import oracle
from relay_trio.testing.fake_upstream import open_deaf_address
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


class Watched:
    """A process at rest, and how it stands against that."""

    def __init__(self) -> None:
        self.book = NurseryRegistry(Balance())
        self.sockets = 0
        self.baseline = Baseline.at_rest(take_census(socket_descriptors()), self.known())

    def known(self) -> Known:
        return Known.now(self.book, sockets=self.sockets, services=0)

    def astray(self) -> dict[str, int]:
        """Return what nobody knows of."""
        found = unaccounted(take_census(socket_descriptors()), self.baseline, self.known())
        return {kind: count for kind, count in found.items() if count}


async def test_the_census_finds_every_task_and_every_nursery_that_trio_has() -> None:
    """The same as the oracle's walk, which was written apart from it."""
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        tasks, nurseries = oracle.tasks_and_nurseries()
        census = take_census(None)
        assert (census.tasks, census.nurseries) == (sum(tasks.values()), sum(nurseries.values()))
        assert census.tasks == count_tasks()
        nursery.cancel_scope.cancel()


async def test_a_process_that_owns_what_it_has_is_even() -> None:
    """Requests, their helpers, and what those have opened below them."""
    watched = Watched()

    async def helper() -> None:
        async with trio.open_nursery() as below:
            below.start_soon(trio.sleep_forever)
            below.start_soon(trio.sleep_forever)

    async def request() -> None:
        watched.book.balance.client_connections.opened += 1
        async with RequestScope(watched.book, "r", TOTAL) as one:
            one.start_soon(helper, name="helper")
            async with trio.open_nursery() as own:
                own.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as connections:
        watched.baseline = Baseline.at_rest(take_census(socket_descriptors()), watched.known())
        for _ in range(3):
            connections.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.astray() == {}
        connections.cancel_scope.cancel()


async def test_what_nobody_counted_is_told_by_its_kind() -> None:
    """A task beside all requests, and the nursery that holds it; a socket that no hub knows."""
    watched = Watched()
    async with trio.open_nursery() as stray:
        stray.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        with socket.socket():
            assert watched.astray() == {"tasks": 1, "nurseries": 1, "sockets": 1}
        stray.cancel_scope.cancel()
    assert watched.astray() == {}


async def test_a_count_that_says_too_much_is_told_too() -> None:
    """Less than nothing: then the count is wrong."""
    watched = Watched()
    watched.book.balance.tasks.opened += 2
    watched.sockets += 1
    assert watched.astray() == {"tasks": -2, "sockets": -1}


async def test_a_task_that_has_not_begun_is_nobodys_yet() -> None:
    """It could not have counted itself."""
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        assert watched.astray() == {"nurseries": 1}
        nursery.cancel_scope.cancel()


async def test_a_request_that_connects_owns_the_addresses_that_it_tries() -> None:
    """Trio tries them side by side, and tells us of the one that wins."""
    watched = Watched()
    async with open_deaf_address() as (host, port), trio.open_nursery() as nursery:
        watched.baseline = Baseline.at_rest(take_census(socket_descriptors()), watched.known())

        async def request() -> None:
            watched.book.balance.client_connections.opened += 1
            async with RequestScope(watched.book, "r", TOTAL) as one:
                one.clock.enter("connect")
                await trio.open_tcp_stream(host, port)

        nursery.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.astray() == {}
        watched.sockets -= 5
        assert watched.astray() != {}, "more sockets than it could be trying"
        nursery.cancel_scope.cancel()


async def test_a_stack_shows_where_and_no_values() -> None:
    """Outermost first, a line for each frame; what the variables hold is not there."""

    async def inner(prompt: str) -> None:
        assert prompt
        await trio.sleep_forever()

    async def outer() -> None:
        await inner("canary-" + "prompt")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outer)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        stack = await_stack(task)
        nursery.cancel_scope.cancel()
    names = [line.partition(" ")[2].partition(":")[0].rpartition(".")[2] for line in stack]
    assert names[:3] == ["outer", "inner", "sleep_forever"]
    assert all(f"{__file__}:" in line for line in stack[:2])
    assert "canary-prompt" not in "".join(stack)


async def test_a_stack_reaches_through_what_is_awaited() -> None:
    """An object with `__await__`, an async generator: the frames behind them are the ones that one looks for."""

    class Awaited:
        def __await__(self) -> Generator[Any, Any, None]:
            return self._run().__await__()

        async def _run(self) -> None:
            async for _ in self._generate():
                pass

        async def _generate(self) -> AsyncIterator[None]:
            await trio.sleep_forever()
            yield

    async def outer() -> None:
        await Awaited()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outer)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        text = "\n".join(await_stack(task))
        nursery.cancel_scope.cancel()
    assert text.index("outer") < text.index("_run") < text.index("_generate") < text.index("sleep_forever")


async def test_a_stack_has_a_bound() -> None:
    """However deep it is (guarantee G7)."""

    async def deep(left: int) -> None:
        if left:
            await deep(left - 1)
        else:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deep, 200)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        assert len(await_stack(task)) == 64
        nursery.cancel_scope.cancel()
