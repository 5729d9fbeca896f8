"""Who may start, and how much may be held in memory: slots for requests, bytes for their bodies.

Both are queues with a bound. Who finds them full is told how full they are, and when to come again.
"""

from __future__ import annotations

from typing import Self

import attrs
import trio

from relay_trio.errors import BodyTooLarge, KeyLimitReached, Overloaded
from relay_trio.scopes.balance import Count
from relay_trio.scopes.phase import Limit, PhaseClock

_RETRY_AFTER_S = 1.0


@attrs.frozen
class AdmissionStatistics:
    """Slots taken and wanted now."""

    live: int
    queued: int
    slots: int


class Admission:
    """Slots for requests: so many at once, so many waiting, so many for each key."""

    def __init__(self, slots: int, max_queue: int, queue: Limit, count: Count) -> None:
        self._slots = slots
        self._max_queue = max_queue
        self._limit = queue
        self._count = count
        self._free = trio.Semaphore(slots)
        self._by_key: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Admission {self.statistics()}>"

    async def take(self, key: str, key_limit: int | None, clock: PhaseClock) -> None:
        """Take a slot, waiting for one under the queue clock. Give it back with `give_back`.

        Raises KeyLimitReached (429), Overloaded (503).
        """
        mine = self._by_key.get(key, 0)
        if key_limit is not None and mine >= key_limit:
            raise KeyLimitReached(
                f"This key already has {mine} requests under way, its limit ({mine}/{key_limit}).",
                retry_after=_RETRY_AFTER_S,
            )
        self._by_key[key] = mine + 1  # before any wait: who waits will run
        try:
            self._free.acquire_nowait()
        except trio.WouldBlock:
            try:
                await self._wait(clock)
            except BaseException:
                self._leave(key)
                raise
        self._count.opened += 1

    async def _wait(self, clock: PhaseClock) -> None:
        queued = self._free.statistics().tasks_waiting
        if queued >= self._max_queue:
            raise Overloaded(
                f"The relay is full (queue {queued}/{self._max_queue}, slots {self._slots}/{self._slots}).",
                retry_after=_RETRY_AFTER_S,
            )
        with clock.limited("queue", self._limit):
            await self._free.acquire()

    def give_back(self, key: str) -> None:
        """Give a slot back. Synchronous: it cannot be prevented."""
        self._free.release()
        self._count.closed += 1
        self._leave(key)

    def _leave(self, key: str) -> None:
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]

    def statistics(self) -> AdmissionStatistics:
        """Return how full it is."""
        return AdmissionStatistics(
            live=self._slots - self._free.value,
            queued=self._free.statistics().tasks_waiting,
            slots=self._slots,
        )


@attrs.define(eq=False)
class Reservation:
    """The bytes that one request holds."""

    budget: BufferBudget
    count: Count
    held: int = 0

    def __enter__(self) -> Self:
        self.count.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.count.closed += 1
        self.give_back()

    def give_back(self) -> None:
        """Hold nothing any more."""
        self.budget.give_back(self.held)
        self.held = 0

    def grow_nowait(self, size: int) -> bool:
        """Hold so many more, if there is room at once."""
        if not self.budget.fits(size):
            return False
        self.budget.used += size
        self.held += size
        return True

    async def grow(self, size: int, clock: PhaseClock) -> None:
        """Hold so many more, waiting under the queue clock. Raises Overloaded, BodyTooLarge."""
        if not self.grow_nowait(size):
            await self.budget.wait_fits(size, clock)
            self.budget.used += size
            self.held += size


class BufferBudget:
    """Bytes that all whole bodies together may take."""

    def __init__(self, max_bytes: int, queue: Limit, count: Count) -> None:
        self._max_bytes = max_bytes
        self._limit = queue
        self._count = count
        self._freed = trio.Event()
        self._waiting = 0
        self.used = 0

    def reservation(self) -> Reservation:
        """Return what holds bytes for the length of a `with` block."""
        return Reservation(self, self._count)

    def fits(self, size: int) -> bool:
        """Say whether so many more bytes fit now."""
        return self.used + size <= self._max_bytes

    async def wait_fits(self, size: int, clock: PhaseClock) -> None:
        """Return when so many more bytes fit."""
        if size > self._max_bytes:
            raise BodyTooLarge(f"The body is over what the relay holds in memory ({self._max_bytes} bytes).")
        before = clock.current
        with clock.limited("queue", self._limit):
            self._waiting += 1
            try:
                while not self.fits(size):
                    await self._freed.wait()
            finally:
                self._waiting -= 1
        clock.enter(before)

    def give_back(self, size: int) -> None:
        """Make room; whoever waits looks again."""
        self.used -= size
        if self._waiting:
            freed, self._freed = self._freed, trio.Event()
            freed.set()
