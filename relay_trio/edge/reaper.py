"""Ends client connections that wait for a request for too long: one service task for all of them, no timer for each."""

from __future__ import annotations

import trio

from relay_trio.edge.connection import CONNECTION_LOOK_S, ClientConnection, ConnectionServices


async def reap(services: ConnectionServices) -> None:
    """Look twice a second until cancelled. A service task.

    A connection is not told of to the wheel whenever its time changes, which is twice for each request. It is looked at
    so often that no time which was set since the last look can have passed meanwhile.
    """
    while True:
        await trio.sleep(CONNECTION_LOOK_S)
        _look(services, trio.current_time())


def _look(services: ConnectionServices, now: float) -> None:
    live = services.live
    soonest = now + min(services.head.seconds, services.idle.seconds)
    for connection in live.take_due(now):
        if connection.kick_at <= now:
            _kick(connection, services)
        live.put(connection, min(connection.kick_at, soonest))
    if next((one.terminated for one in live), False):  # hypercorn is going down: that is one for all
        for connection in live:
            if connection.waits:
                _kick(connection, services)


def _kick(connection: ClientConnection, services: ConnectionServices) -> None:
    if connection.idle:
        connection.kick("the connection was idle")
    else:
        connection.kick(f"{services.head.seconds:g} s (limit {services.head.setting})")
