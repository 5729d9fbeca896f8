"""Keeps silent streams awake: one service task looks at all of them, and none pays for it until it has been silent.

Where a keep-alive is due, it is sent by a helper in the request's own nursery, so it ends with its request.
"""

from __future__ import annotations

import trio

from relay_trio.relay.exchange import ClientRequest, Exchange
from relay_trio.relay.headers import positive_number
from relay_trio.scopes.wheel import TimingWheel
from relay_trio.settings.model import Settings

_LOOK_INTERVAL_S = 0.5
_SILENCE_HEADERS = (b"x-stainless-read-timeout", b"x-stainless-timeout", b"x-server-timeout")
"""The SDKs announce the longest silence they bear, not a total: a 12-minute stream of one that says 600 is fine."""


class Pacemaker:
    """The streams of one process that may need to be kept awake."""

    def __init__(self) -> None:
        self._watched: TimingWheel[Exchange] = TimingWheel(_LOOK_INTERVAL_S)

    def watch(self, exchange: Exchange, settings: Settings) -> None:
        """Keep this stream awake from now on: as configured, but at least twice in the silence that its client bears."""
        if not settings.keepalive_interval:
            return
        cap = _longest_silence(exchange.request) / 2
        exchange.keepalive_after = min(settings.keepalive_after, cap)
        exchange.keepalive_interval = min(settings.keepalive_interval, cap)
        self._watched.put(exchange, exchange.keepalive_due())

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._watched.remove(exchange)

    async def run(self) -> None:
        """Look for silent streams until cancelled. A service task.

        What is sent meanwhile only moves a stream's time on, so the wheel is not told of it.
        """
        while True:
            await trio.sleep(_LOOK_INTERVAL_S)
            self._look(trio.current_time())

    def _look(self, now: float) -> None:
        for exchange in self._watched.take_due(now):
            due = exchange.keepalive_due()
            if due <= now:
                exchange.scope.start_soon(exchange.keepalive, name="keep-alive")
            self._watched.put(exchange, min(due, now + min(exchange.keepalive_after, exchange.keepalive_interval)))


def _longest_silence(request: ClientRequest) -> float:
    announced = (positive_number(request.fields.get(name)) for name in _SILENCE_HEADERS)
    return min((silence for silence in announced if silence is not None), default=float("inf"))
