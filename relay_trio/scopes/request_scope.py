"""A request is a nursery: everything it opens is opened in here, under one deadline, and is closed when it closes.

    async with RequestScope(registry, request_id, total) as scope:
        ...                               # the request's own work, and the only place it is done in
        scope.start_soon(work, name=...)  # its helpers: they end with it

The scope ends in one of four ways: the work returns; its deadline passes; `cancel(reason)` is called from outside (the
client left, an operator, the drain); or an outer scope is cancelled. There is no fifth, and none that leaves a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self, TypeVarTuple

import trio

from relay_trio.errors import Ended
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, PhaseClock

Arguments = TypeVarTuple("Arguments")


class Registry(Protocol):
    """Where a scope enters itself while it lives (`nursery.NurseryRegistry`)."""

    @property
    def balance(self) -> Balance:
        """What was opened and closed."""
        ...

    def enter(self, scope: RequestScope) -> int:
        """Enter a scope whose nursery has just opened; return the serial number to leave with."""
        ...

    def leave(self, serial: int) -> None:
        """The nursery has closed."""
        ...


class RequestScope:
    """The nursery, the cancel scope, the deadline and the clock of one request.

    `key`, `channel`, `method`, `path`, `bytes_in`, `bytes_out` are there to be looked at (`/debug/nurseries`).
    """

    __slots__ = (
        "_manager", "_nursery", "_registry", "_serial", "attempt", "bytes_in", "bytes_out", "cancelled_for", "channel",
        "clock", "crash", "deadline", "holding", "id", "key", "let_go", "method", "name", "path", "started", "task", "total",
    )  # fmt: skip

    def __init__(self, registry: Registry, request_id: str, total: Limit, name: str = "request") -> None:
        self.id = request_id
        self.name = name
        self.total = total
        self.clock = PhaseClock()
        self.started = self.clock.started
        self.deadline = self.started + total.seconds
        self.cancelled_for: Ended | None = None
        self.crash: Exception | None = None
        """What a helper failed of: it ends its request, and no other."""
        self.task: trio.lowlevel.Task | None = None
        self.method = self.path = ""
        self.key: str | None = None
        self.channel: str | None = None
        self.attempt = 0
        self.holding = 0
        """Upstream answers that are open: 0 when the request is over, or something was left open."""
        self.let_go: Callable[[], None] | None = None
        """Closes the answer that is open. Called when the scope is cancelled, since its task gets its turn only later."""
        self.bytes_in = self.bytes_out = 0
        self._registry = registry
        self._serial = 0
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<RequestScope {self.id} {self.clock.current}>"

    async def __aenter__(self) -> Self:
        nursery = await self._manager.__aenter__()
        nursery.cancel_scope.deadline = self.deadline
        self._nursery = nursery
        self.task = trio.lowlevel.current_task()
        self._serial = self._registry.enter(self)
        self._registry.balance.request_scopes.opened += 1
        if self.cancelled_for is not None:
            nursery.cancel_scope.cancel(reason=self.cancelled_for)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - the nursery's own end
        finally:
            self._registry.leave(self._serial)
            self._registry.balance.request_scopes.closed += 1
            self.task = None

    def start_soon(self, work: Callable[[*Arguments], Awaitable[object]], *arguments: *Arguments, name: str) -> None:
        """Start a helper of this request. It ends with the request, whatever it does."""
        assert self._nursery is not None, "the scope is entered first"
        self._nursery.start_soon(self._counted, work, arguments, name=f"{self.name} {self.id}: {name}")

    async def _counted(self, work: Callable[..., Awaitable[object]], arguments: tuple[object, ...]) -> None:
        tasks = self._registry.balance.tasks
        tasks.opened += 1
        try:
            await work(*arguments)
        except Exception as error:  # noqa: BLE001 - the request's own door tells of it, in the request's own words
            self.crash = error
            self.cancel(Ended.INTERNAL_ERROR)
        finally:
            tasks.closed += 1

    def cancel(self, reason: Ended) -> None:
        """End the request from outside. The first reason stands. May be called from any task, and before entering."""
        if self.cancelled_for is None:
            self.cancelled_for = reason
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel(reason=reason)
            if self.let_go is not None:
                self.let_go()

    def cancel_helpers_at_end(self) -> None:
        """The work is done: let no helper keep the scope open."""
        assert self._nursery is not None, "the scope is entered first"
        if self._nursery.child_tasks:
            self._nursery.cancel_scope.cancel(reason="the request is finished")

    @property
    def helpers(self) -> frozenset[trio.lowlevel.Task]:
        """The tasks that the request has started."""
        return self._nursery.child_tasks if self._nursery is not None else frozenset()

    def nurseries_within(self) -> list[trio.Nursery]:
        """Return the request's nursery and those that its own task has opened inside it."""
        if self.task is None or self._nursery is None:
            return []
        open_now = self.task.child_nurseries
        return open_now[open_now.index(self._nursery) :]

    @property
    def age(self) -> float:
        """Seconds since the scope was made."""
        return self.clock.now() - self.started

    @property
    def time_left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - self.clock.now()
