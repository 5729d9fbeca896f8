"""Ends client connections that wait for a request for too long: one service task for all of them, no timer for each."""

from __future__ import annotations

import trio

from relay_trio.edge.connection import ConnectionServices

_LOOK_INTERVAL_S = 0.5


async def reap(services: ConnectionServices) -> None:
    """Look twice a second until cancelled. A service task."""
    while True:
        await trio.sleep(_LOOK_INTERVAL_S)
        now = trio.current_time()
        for connection in [one for one in services.live if one.waits and (one.kick_at <= now or one.terminated)]:
            if connection.idle:
                connection.kick("the connection was idle")
            else:
                connection.kick(f"{services.head.seconds:g} s (limit {services.head.setting})")
