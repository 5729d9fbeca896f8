"""Requests to providers over pooled connections: the raw call of the hot path, and httpx's transport over the same pool.

    response = await transport.send(request, route)      # connect, send, wait for the head
    while data := await response.receive(): ...          # the body; b"" only at its proven end
    await response.aclose()                              # in a finally: back to the pool, or closed

That close has no checkpoint and may come at any moment, so a cancelled request leaves nothing behind: a connection whose answer
was not read to its end is closed by closing its socket, never by reading on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import attrs
import httpx
import trio

from adaptors.values import Header, UpstreamRequest
from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, LimitedPhase, PhaseClock
from relay_trio.sockets import Hub
from relay_trio.upstream.connect import open_connection
from relay_trio.upstream.connection import Take, UpstreamConnection
from relay_trio.upstream.pool import Key, Pool
from relay_trio.upstream.target import Origin, Route, split_url

NextPiece = Callable[[], Awaitable[bytes]]
"""Returns the next piece of a body that streams up; b"" is its end."""


@attrs.frozen
class Upload:
    """A body that streams up. `length` is what the client announced, or None when it does not know (chunked)."""

    next_piece: NextPiece
    length: int | None


class Response(Protocol):
    """An answer whose head is here and whose body is being read."""

    status: int
    headers: list[Header]
    fields: dict[bytes, bytes]
    """The headers by name; of those that came more than once, the first."""
    reused: bool

    @property
    def ended(self) -> bool:
        """All of the body has been received, and its end is proven."""
        ...

    async def receive(self) -> bytes:
        """Return the next piece of the body; b"" at its proven end. Raises UpstreamFailed."""
        ...

    async def aclose(self) -> None:
        """Give the connection back or close it, even when cancelled. Never raises; may be called twice."""
        ...


class Sender(Protocol):
    """What sends requests to providers: our transport, or httpx's behind the same interface."""

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> Response:
        """Send a request and return when the head of its answer is here. Raises UpstreamFailed, LimitReached."""
        ...


class UpstreamResponse:
    """The answer on one of our own connections."""

    __slots__ = ("_connection", "_key", "_transport", "fields", "headers", "reused", "status")

    def __init__(self, transport: Transport, key: Key, connection: UpstreamConnection) -> None:
        self._transport = transport
        self._key = key
        self._connection: UpstreamConnection | None = connection
        self.status = connection.status
        self.headers = connection.headers
        self.fields = connection.fields
        self.reused = connection.reused

    @property
    def ended(self) -> bool:
        """All of the body has been received, and its end is proven."""
        return self._connection is None or self._connection.ended

    async def receive(self) -> bytes:
        """Return the next piece of the body; b"" at its proven end. Raises UpstreamFailed."""
        if self._connection is None:
            raise trio.ClosedResourceError("the response was closed")
        return await self._connection.receive()

    async def pass_to(self, take: Take) -> bool:
        """Give `take` each piece as it comes, until it wants no more (False) or the body's proven end (True)."""
        if self._connection is None:
            raise trio.ClosedResourceError("the response was closed")
        return await self._connection.pass_to(take)

    async def aclose(self) -> None:
        """Give the connection back or close it. No checkpoint, so nothing can come between."""
        self.close()

    def close(self) -> None:
        """Give the connection back or close it."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._transport.release(self._key, connection)


async def pass_pieces(response: Response, take: Take) -> bool:
    """Give `take` each piece of a body as it comes, until it wants no more (False) or the body's proven end (True).

    On our own connections that costs the waiting task no turn of its own. Raises UpstreamFailed, and what `take` raises.
    """
    if isinstance(response, UpstreamResponse):
        return await response.pass_to(take)
    while piece := await response.receive():
        if not take(piece):
            return False
    return True


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over pooled HTTP/1.1 connections. One for each process; outlives all requests."""

    def __init__(self, hub: Hub, balance: Balance, pool: Pool, default_route: Route) -> None:
        self._hub = hub
        self._counts = balance.upstream_connections
        self.pool = pool
        self._default_route = default_route

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> UpstreamResponse:
        """Send a request and return when the head of its answer is here.

        A request that fails on a reused connection before any byte of an answer is sent once more, on a new one
        (RFC 9112, 9.3.1), if its body can be sent again. Limits: `connect` and `send` by the route, the wait for the
        head by `headers`. Raises UpstreamFailed, LimitReached. Cancelled, it leaves nothing open.
        """
        origin, target = split_url(request.url)
        key = (origin, route.proxy)
        head = _head_of(request, origin, target, route, upload)
        repeated = False
        while True:
            idle = self.pool.take(key) if upload is None and not repeated else None
            connection = idle or await self._connect(origin, route, clock)
            self._hold()
            connection.idle_limit_s = route.pool_idle_s
            try:
                connection.start(bodiless_answer=request.method == b"HEAD")
                clock.enter("send")
                if upload is None:
                    await self._send_whole(connection, head, request.body or b"", route.send)
                else:
                    await self._send_upload(connection, head, upload, route.send)
                if headers is None:  # the request's own deadline is the limit
                    clock.enter("headers")
                    await connection.read_head()
                else:
                    with clock.limited("headers", headers):
                        await connection.read_head()
            except UpstreamFailed:
                self.release(key, connection)
                if connection.reused and not connection.answered and upload is None:
                    repeated = True
                    continue
                raise
            except BaseException:
                self.release(key, connection)
                raise
            return UpstreamResponse(self, key, connection)

    async def _connect(self, origin: Origin, route: Route, clock: PhaseClock) -> UpstreamConnection:
        with clock.limited("connect", route.connect):
            sock = await open_connection(self._hub, origin, route)
        self.pool.made += 1
        return UpstreamConnection(sock)

    async def _send_whole(self, connection: UpstreamConnection, head: bytes, body: bytes, limit: Limit) -> None:
        if len(body) <= _JOINED_BYTES:
            await connection.send(head + body, limit)
        elif await connection.send(head, limit):
            await connection.send(body, limit)

    async def _send_upload(self, connection: UpstreamConnection, head: bytes, upload: Upload, limit: Limit) -> None:
        """Send head and pieces as they come; stop when the provider answers before it has seen them all."""
        chunked = upload.length is None
        on = await connection.send(head, limit)
        while on:
            piece = await connection.unless_answered(upload.next_piece)
            if piece is None:
                return
            framed = _chunk(piece) if chunked else piece
            if framed:
                on = await connection.send(framed, limit)
            if not piece:
                return

    def _hold(self) -> None:
        self._counts.opened += 1
        self.pool.in_use += 1

    def release(self, key: Key, connection: UpstreamConnection) -> None:
        """Take a connection back: into the pool if it can serve again, else it is closed."""
        self._counts.closed += 1
        self.pool.in_use -= 1
        if connection.reusable:
            self.pool.put(key, connection)
        else:
            connection.close()

    # httpx's side, for everything off the hot path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send an httpx request over the same pool. Its extension `timeout` gives the connect and write limits.

        Raises httpx.TransportError and its kin. The extension `route` (a Route) overrides the default one.
        """
        route = request.extensions.get("route", self._default_route)
        timeout = request.extensions.get("timeout", {})
        route = attrs.evolve(
            route,
            connect=route.connect.shorter(_httpx_limit(timeout, "connect")),
            send=route.send.shorter(_httpx_limit(timeout, "write")),
        )
        upstream_request = UpstreamRequest(
            method=request.method.encode("ascii"),
            url=str(request.url),
            headers=tuple((name.lower(), value) for name, value in request.headers.raw if name.lower() not in _FRAMING),
            body=await request.aread(),
        )
        try:
            clock = PhaseClock()
            response = await self.send(upstream_request, route, clock, _httpx_limit(timeout, "read"))
        except (UpstreamFailed, LimitReached) as error:
            raise _httpx_error(error, request) from error
        return httpx.Response(response.status, headers=response.headers, stream=_HttpxBody(response, request))

    async def aclose(self) -> None:
        """Close the idle connections."""
        self.pool.close_all()


class _HttpxBody(httpx.AsyncByteStream):
    def __init__(self, response: UpstreamResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        timeout = self._request.extensions.get("timeout", {})
        try:
            with LimitedPhase("idle", _httpx_limit(timeout, "read")):
                data = await self._response.receive()
        except (UpstreamFailed, LimitReached) as error:
            raise _httpx_error(error, self._request) from error
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self._response.close()  # before any checkpoint: a cancelled httpx raises at the first one


def _httpx_limit(timeout: dict[str, float | None], name: str) -> Limit:
    seconds = timeout.get(name)
    return Limit(float("inf") if seconds is None else seconds, f"httpx timeout.{name}")


def _httpx_error(error: UpstreamFailed | LimitReached, request: httpx.Request) -> httpx.TransportError:
    """Translate ours into httpx's, by the phase."""
    kinds: dict[str | None, tuple[type[httpx.TransportError], type[httpx.TransportError]]] = {
        "connect": (httpx.ConnectTimeout, httpx.ConnectError),
        "send": (httpx.WriteTimeout, httpx.WriteError),
    }
    timed_out, failed = kinds.get(error.phase, (httpx.ReadTimeout, httpx.RemoteProtocolError))
    kind = timed_out if isinstance(error, LimitReached) else failed
    return kind(error.message, request=request)


_JOINED_BYTES = 256 * 1024
"""Below it one write is cheaper than not copying the body."""

_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})
METHODS_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})


def _head_of(request: UpstreamRequest, origin: Origin, target: bytes, route: Route, upload: Upload | None) -> bytes:
    """Return the request's head: the framing is ours, the rest is the adaptor's."""
    if route.proxy is not None and not origin.secure:
        target = origin.scheme.encode() + b"://" + origin.authority + target  # RFC 9112, 3.2.2
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, target, origin.authority)]
    for name, value in request.headers:
        lines += (name, b": ", value, b"\r\n")
    if route.proxy is not None and not origin.secure and route.proxy.authorization is not None:
        lines.append(b"proxy-authorization: %b\r\n" % route.proxy.authorization)
    if upload is not None:
        lines.append(b"transfer-encoding: chunked\r\n" if upload.length is None else _length(upload.length))
    elif request.body or request.method in METHODS_WITH_BODY:
        lines.append(_length(len(request.body or b"")))
    lines.append(b"\r\n")
    return b"".join(lines)


def _length(length: int) -> bytes:
    return b"content-length: %d\r\n" % length


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"0\r\n\r\n"
