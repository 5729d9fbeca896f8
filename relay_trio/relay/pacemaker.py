"""Keeps silent streams awake: one service task looks at all of them, and none pays for it until it has been silent.

Where a keep-alive is due, it is sent by a helper in the request's own nursery, so it ends with its request.
"""

from __future__ import annotations

import trio

from relay_trio.relay.exchange import Exchange

_LOOK_INTERVAL_S = 0.5


class Pacemaker:
    """The streams of one process that may need to be kept awake."""

    def __init__(self) -> None:
        self._watched: set[Exchange] = set()

    def watch(self, exchange: Exchange) -> None:
        """Keep this stream awake from now on."""
        self._watched.add(exchange)

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._watched.discard(exchange)

    async def run(self) -> None:
        """Look for silent streams until cancelled. A service task."""
        while True:
            await trio.sleep(_LOOK_INTERVAL_S)
            now = trio.current_time()
            for exchange in [exchange for exchange in self._watched if exchange.keepalive_due() <= now]:
                exchange.scope.start_soon(exchange.keepalive, name="keep-alive")
