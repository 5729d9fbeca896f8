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
        going_down = next((one.terminated for one in services.live), False)  # hypercorn's shutdown is one for all
        for connection in [one for one in services.live if one.kick_at <= now or (going_down and one.waits)]:
            if connection.idle:
                connection.kick("the connection was idle")
            else:
                connection.kick(f"{services.head.seconds:g} s (limit {services.head.setting})")
