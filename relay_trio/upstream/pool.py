"""Idle connections, kept for the next request to the same origin by the same way.

The last one in is the first one out: the warm ones stay warm and the others age out. A connection whose peer leaves is
dropped when the hub tells so; one that has said something unasked is dropped when it is taken.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from relay_trio.upstream.connection import UpstreamConnection
from relay_trio.upstream.target import Origin, Proxy

MAX_IDLE_PER_ORIGIN = 512
"""Above what one process needs at once for short requests; each costs a descriptor on both sides."""

_REAP_INTERVAL_S = 1.0

Key = tuple[Origin, Proxy | None]
"""What makes two connections interchangeable."""


@attrs.frozen
class PoolStatistics:
    """Connections at rest now; made and reused since the start."""

    idle: int
    made: int
    reused: int
    in_use: int


class Pool:
    """The idle connections of one process."""

    def __init__(self, idle_limit_s: float) -> None:
        self._idle: dict[Key, deque[UpstreamConnection]] = {}
        self._idle_limit_s = idle_limit_s
        self.made = 0
        self.reused = 0
        self.in_use = 0

    def __repr__(self) -> str:
        return f"<Pool {self.in_use} in use, {sum(map(len, self._idle.values()))} idle>"

    def take(self, key: Key) -> UpstreamConnection | None:
        """Return an idle connection that is still good, or None."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            connection.sock.on_hangup = None
            if connection.went_quiet():
                connection.reused = True
                self.reused += 1
                return connection
            connection.close()
        return None

    def put(self, key: Key, connection: UpstreamConnection) -> None:
        """Keep a connection for later. The caller has made sure that it is reusable."""
        idle = self._idle.get(key)
        if idle is None:
            idle = self._idle[key] = deque()
        elif len(idle) >= MAX_IDLE_PER_ORIGIN:
            idle.popleft().close()
        limit_s = self._idle_limit_s if connection.idle_limit_s is None else connection.idle_limit_s
        connection.idle_until = trio.current_time() + limit_s

        def drop() -> None:
            idle.remove(connection)
            connection.close()

        connection.sock.on_hangup = drop
        idle.append(connection)

    async def reap(self) -> None:
        """Close what has been idle for too long, until cancelled. A service task."""
        while True:
            await trio.sleep(_REAP_INTERVAL_S)
            self._close_those_until(trio.current_time())

    def close_all(self) -> None:
        """Close every idle connection."""
        self._close_those_until(float("inf"))

    def _close_those_until(self, now: float) -> None:
        for key, idle in list(self._idle.items()):
            for connection in [one for one in idle if one.idle_until < now]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[key]

    def statistics(self) -> PoolStatistics:
        """Return what the pool holds."""
        return PoolStatistics(
            idle=sum(map(len, self._idle.values())), made=self.made, reused=self.reused, in_use=self.in_use
        )
