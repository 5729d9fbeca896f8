"""The only shield: clean-up that must happen although its scope is cancelled, and never for longer than its bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from relay_trio.settings.model import CLEANUP_S


@contextmanager
def shielded(seconds: float = CLEANUP_S) -> Iterator[trio.CancelScope]:
    """Shield the block from outer cancellation for at most so many seconds; then it is cancelled itself, quietly."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + seconds) as scope:
        yield scope
