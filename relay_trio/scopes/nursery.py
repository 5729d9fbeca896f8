"""The registry of live nurseries: what is counted, named and shown is what is there.

Every nursery that the relay opens for a request or for background work is entered here on opening and leaves on closing,
so the number of live ones is the length of a dictionary, and a test holds it against trio's own task tree.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator

import attrs
import trio

from relay_trio.scopes.balance import Balance
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.settings.model import CLEANUP_S

_MINUTES_KEPT = 24 * 60


@attrs.frozen
class Peak:
    """The highest number of live nurseries in the last hour and in the last day."""

    hour: int
    day: int


class NurseryRegistry:
    """The live nurseries of one process. Touched only by its one trio thread."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance
        self._live: dict[int, RequestScope] = {}
        self._serials = itertools.count(1)
        self._left = trio.Event()
        self._waited_for = 0
        self._minute_peak = 0
        self._minutes: collections.deque[int] = collections.deque(maxlen=_MINUTES_KEPT)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[RequestScope]:
        return iter(list(self._live.values()))

    def __repr__(self) -> str:
        return f"<NurseryRegistry {len(self._live)} live>"

    def find(self, request_id: str) -> RequestScope | None:
        """Return the live scope with this id; the oldest, where clients chose the same."""
        return next((scope for scope in self._live.values() if scope.id == request_id), None)

    def oldest(self) -> RequestScope | None:
        """Return the scope that has lived longest."""
        return next(iter(self._live.values()), None)

    def overdue(self) -> list[RequestScope]:
        """Return the scopes that should be gone: their deadline and the clean-up after it have passed."""
        gone_by = trio.current_time() - CLEANUP_S
        return [scope for scope in self._live.values() if scope.deadline < gone_by]

    def enter(self, scope: RequestScope) -> int:
        """Enter a nursery that has just opened; return the serial number to leave with."""
        serial = next(self._serials)
        self._live[serial] = scope
        self.balance.nurseries.opened += 1
        live = len(self._live)
        self._minute_peak = max(self._minute_peak, live)
        return serial

    def leave(self, serial: int) -> None:
        """The nursery has closed: all its tasks have ended."""
        del self._live[serial]
        self.balance.nurseries.closed += 1
        if self._waited_for:
            left, self._left = self._left, trio.Event()
            left.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at whenever a nursery has closed. Checkpoint unless it holds."""
        while not condition():
            self._waited_for += 1
            try:
                await self._left.wait()
            finally:
                self._waited_for -= 1

    def turn_minute(self) -> None:
        """A minute is over: keep its peak. Called by the watchdog."""
        self._minutes.append(self._minute_peak)
        self._minute_peak = len(self._live)

    def peak(self) -> Peak:
        """Return the peaks, the running minute included."""
        last_hour = itertools.islice(reversed(self._minutes), 60)
        return Peak(
            hour=max(self._minute_peak, max(last_hour, default=0)),
            day=max(self._minute_peak, max(self._minutes, default=0)),
        )
