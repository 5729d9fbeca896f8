"""A transport on its own, without the relay around it: a hub, a pool, a balance, and a fake provider to send to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from adaptors.values import UpstreamRequest
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.sockets import Hub, open_hub
from relay_trio.testing.certificates import client_context
from relay_trio.testing.shapes import chat
from relay_trio.upstream.pool import Pool
from relay_trio.upstream.target import Route, proxy_of
from relay_trio.upstream.transport import Response, Sender, Transport, Upload

CONNECT = Limit(10, "RELAY_CONNECT_TIMEOUT")
SEND = Limit(20, "RELAY_SEND_TIMEOUT")
HEADERS = Limit(40, "RELAY_HEADER_TIMEOUT")
POOL_IDLE_S = 90.0

BODY = chat().partition(b"\r\n\r\n")[2]
"""What a chat request says."""


@attrs.frozen
class Answered:
    """A whole answer, and how it was got."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    reused: bool


@attrs.define(eq=False)
class Rig:
    """A running transport. `clock` is that of the last request."""

    hub: Hub
    balance: Balance
    transport: Transport
    route: Route
    clock: PhaseClock = attrs.field(factory=PhaseClock)

    @property
    def pool(self) -> Pool:
        """The idle connections."""
        return self.transport.pool

    async def send(
        self,
        url: str,
        *,
        method: bytes = b"POST",
        body: bytes | None = BODY,
        upload: Upload | None = None,
        headers: Limit | None = HEADERS,
        sender: Sender | None = None,
    ) -> Response:
        """Send a request and return its answer, still open. Raises UpstreamFailed, LimitReached."""
        self.clock = PhaseClock()
        request = UpstreamRequest(method, url, ((b"content-type", b"application/json"),), body)
        return await (sender or self.transport).send(request, self.route, self.clock, headers, upload)

    async def ask(
        self,
        url: str,
        *,
        method: bytes = b"POST",
        body: bytes | None = BODY,
        upload: Upload | None = None,
        sender: Sender | None = None,
    ) -> Answered:
        """Send a request and read its answer to the end. Raises UpstreamFailed, LimitReached."""
        response = await self.send(url, method=method, body=body, upload=upload, sender=sender)
        try:
            read = await receive_all(response)
        finally:
            await response.aclose()
        return Answered(response.status, dict(response.headers), read, response.reused)

    def assert_at_rest(self, *, idle: int = 0) -> None:
        """Nothing is in use, and so many connections are idle."""
        count = self.balance.upstream_connections
        assert (count.live, self.pool.statistics().in_use, self.pool.statistics().idle) == (0, 0, idle)
        assert self.hub.statistics().attached == idle


async def receive_all(response: Response) -> bytes:
    """Return the rest of the body. Raises UpstreamFailed."""
    pieces = []
    while piece := await response.receive():
        pieces.append(piece)
    return b"".join(pieces)


def uploaded(*pieces: bytes, pause_s: float = 0.0, length: int | None = None) -> Upload:
    """Return a body that streams up in these pieces, with so many seconds before each."""
    rest = list(pieces)

    async def next_piece() -> bytes:
        await trio.sleep(pause_s)
        return rest.pop(0) if rest else b""

    return Upload(next_piece, length)


def route_by(proxy: str | None = None) -> Route:
    """Return the route of these tests, by a proxy if one is given."""
    return Route(CONNECT, SEND, client_context(), None if proxy is None else proxy_of(proxy))


@asynccontextmanager
async def open_rig(
    make_hub: Callable[[], Hub] = open_hub, *, proxy: str | None = None, idle_limit_s: float = POOL_IDLE_S
) -> AsyncIterator[Rig]:
    """Run a transport for the length of the block."""
    balance, hub = Balance(), make_hub()
    route = route_by(proxy)
    pool = Pool(idle_limit_s)
    rig = Rig(hub, balance, Transport(hub, balance, pool, route), route)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        nursery.start_soon(pool.reap)
        try:
            yield rig
        finally:
            await rig.transport.aclose()
            nursery.cancel_scope.cancel(reason="the rig's block has ended")
    assert balance.upstream_connections.live == 0
    assert hub.statistics().attached == 0
