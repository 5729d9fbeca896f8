"""A timing wheel: many things, each to be looked at by some time, and one service task that looks.

To go through all of them at each look would stop the loop for as long as that takes: 4 ms at 9,500 streams, most of it
spent waiting for memory that nobody has touched for a while. Here a look takes only what is due, so its price is that of
what it finds (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987; this is the simplest of theirs).

    wheel.put(stream, by)               # to be looked at by this time
    for stream in wheel.take_due(now):  # no longer on the wheel
        wheel.put(stream, later)        # unless that was the end of it
    wheel.remove(stream)                # in the finally of what it belongs to
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TimingWheel(Generic[Item]):
    """Items and the times by which they are to be looked at, in slots of `tick_s` seconds. An item is there once."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._slots: dict[int, set[Item]] = {}
        self._slot_of: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._slot_of)

    def put(self, item: Item, at: float) -> None:
        """Have it taken by the first look at or after this time, which is finite, or by one that is up to a tick earlier."""
        slot = int(at // self._tick_s)
        self.remove(item)
        self._slot_of[item] = slot
        self._slots.setdefault(slot, set()).add(item)

    def remove(self, item: Item) -> None:
        """Forget it, if it is there."""
        slot = self._slot_of.pop(item, None)
        if slot is None:
            return
        items = self._slots[slot]
        items.remove(item)
        if not items:
            del self._slots[slot]

    def take_due(self, now: float) -> list[Item]:
        """Return what is due now, and some that will be within the tick; none of it is on the wheel any more."""
        turned_to = now // self._tick_s
        due = [item for slot in sorted(self._slots) if slot <= turned_to for item in self._slots.pop(slot)]
        for item in due:
            del self._slot_of[item]
        return due
