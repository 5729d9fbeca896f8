"""After the flood: a process that has become quiet gives back what memory it needed at its height.

It would else be kept for good, though nothing is in use. Three things hold it. trio keeps up to a thousand ended cancel
scopes until their deadline would have come, fifteen minutes later; each of them keeps a whole MiB of the interpreter's
memory (arenas: given back only when nothing at all is in them). The interpreter keeps lists of free tuples and frames,
which only a full collection empties. And glibc keeps the free part of its heap.

Measured with 2,000 streams: 55 MiB at rest, 104 at the height, 70 two minutes later, when the connections to the provider
have been idle for long enough. Without this it stays at 104, and needs no more for the next 2,000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

_LOOK_S = 10.0
_WORTH_MB = 16.0
"""Below it nobody notices."""
_HELPED_MB = 2.0
"""While it helps it is done again: what idle connections kept is free when they have been closed, a minute later."""
_FEW_SOCKETS = 200
"""Of clients and providers, idle ones included. With so few, a full collection stops the loop for some 10 ms; with
thousands of live streams it would be hundreds, so then memory waits."""

_KEPT_BY_TRIO = 1000
"""trio._core._run.DEADLINE_HEAP_MIN_PRUNE_THRESHOLD: with more ended scopes than so many, and than live ones, trio drops
those that have ended."""
_SCOPES_OF_FEW = 5 * _FEW_SOCKETS
"""No more live ones have a deadline then: a request has two or three."""
_SCOPES_AT_ONCE = 100
_SOON_S = 0.5
"""Long enough to make some scopes; when those are over, the memory is free."""


class Speaker(Protocol):
    """Where it says what it has done."""

    def info(self, event: str, **fields: object) -> object:
        """Say what explains a curve that an operator looks at."""


@attrs.define(eq=False)
class Ebb:
    """Watches the memory of one process. `give_back` collects, and returns free memory to the system."""

    _sockets: Callable[[], int]
    _memory_mb: Callable[[], float | None]
    _give_back: Callable[[], object]
    _speaker: Speaker
    _least_mb: float | None = None
    """What it holds at rest: at the first look, and whenever nothing more could be given back."""

    async def run(self) -> None:
        """Look now and then until cancelled. A service task."""
        while True:
            before = self.too_much_mb()
            if before is not None:
                await self._give_back_what_is_free(before)
            await trio.sleep(_LOOK_S)

    def too_much_mb(self) -> float | None:
        """Return the memory that is held where it is much more than at rest, and the process is quiet; else None."""
        if self._sockets() > _FEW_SOCKETS:
            return None
        memory_mb = self._memory_mb()
        if memory_mb is None:
            return None
        if self._least_mb is None:
            self._least_mb = memory_mb
        return memory_mb if memory_mb >= self._least_mb + _WORTH_MB else None

    async def _give_back_what_is_free(self, before: float) -> None:
        await _let_trio_forget_what_has_ended()
        started = trio.current_time()
        self._give_back()
        took_ms = round((trio.current_time() - started) * 1000, 3)
        after = self._memory_mb() or before
        if before - after < _HELPED_MB:
            self._least_mb = after  # that is what it needs, or what its fragments hold
        self._speaker.info("memory_given_back", rss_mb_before=before, rss_mb=after, took_ms=took_ms)


async def _let_trio_forget_what_has_ended() -> None:
    """Bring the number of ended scopes over trio's own bound, in small steps: it drops them all then.

    A live deadline stands before theirs, since trio drops ended ones from the front at once. What of ours is left over is
    dropped when its own deadline has come.
    """
    with trio.move_on_after(_SOON_S):
        for _ in range((_KEPT_BY_TRIO + _SCOPES_OF_FEW) // _SCOPES_AT_ONCE):
            for _ in range(_SCOPES_AT_ONCE):
                with trio.move_on_after(2 * _SOON_S):  # noqa: ASYNC100 - it is to be forgotten
                    pass
            await trio.sleep(0)  # noqa: ASYNC115 - low-level trio stays in its place
    await trio.sleep(3 * _SOON_S)
