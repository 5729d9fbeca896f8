"""httpx's own transport behind the interface of ours: for SOCKS proxies, and as a way out (`transport = "httpx"`).

Slower by a factor of ten, with the same limits, the same errors, and a close that is as sure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx

from adaptors.values import Header, UpstreamRequest
from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, PhaseClock, limit_reached
from relay_trio.scopes.shielded import shielded
from relay_trio.upstream.target import Route
from relay_trio.upstream.transport import Upload

_CLOSE_S = 1.0
"""httpx's close of a body that was not read to its end may wait for the peer: no longer than this."""


class HttpxSender:
    """Sends requests by httpx.AsyncHTTPTransport. One for each channel that wants it."""

    def __init__(self, balance: Balance, route: Route, proxy: str | None) -> None:
        self._count = balance.upstream_connections
        self.in_flight = 0
        self._transport = httpx.AsyncHTTPTransport(
            verify=route.tls,
            proxy=proxy,
            # One pool for each channel, and small: httpx walks the whole pool for every request.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> HttpxResponse:
        """Send a request and return when the head of its answer is here. Raises UpstreamFailed, LimitReached."""
        wanted = httpx.Request(
            request.method.decode("ascii"),
            request.url,
            headers=[*request.headers, *_framing(upload)],
            content=request.body if upload is None else _pieces(upload),
            extensions={"timeout": {"connect": route.connect.seconds, "write": route.send.seconds}},
        )
        self._hold()
        try:
            response = await self._send(wanted, route, clock, headers)
        except BaseException:
            self._let_go()
            raise
        return HttpxResponse(response, self._let_go)

    def _hold(self) -> None:
        self._count.opened += 1
        self.in_flight += 1

    def _let_go(self) -> None:
        self._count.closed += 1
        self.in_flight -= 1

    async def _send(
        self, request: httpx.Request, route: Route, clock: PhaseClock, headers: Limit | None
    ) -> httpx.Response:
        try:
            if headers is None:
                clock.enter("headers")
                return await self._transport.handle_async_request(request)
            with clock.limited("headers", headers):
                return await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            raise _translated(error, route, "headers", "before it sent an answer") from error

    async def aclose(self) -> None:
        """Close the idle connections."""
        with shielded(_CLOSE_S):
            await self._transport.aclose()


class HttpxResponse:
    """The answer on a connection of httpx."""

    def __init__(self, response: httpx.Response, let_go: Callable[[], None]) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._stream = response.stream
        self._pieces = aiter(response.stream)
        self._let_go = let_go
        self._open = True
        self.status = response.status_code
        self.headers: list[Header] = [(name.lower(), value) for name, value in response.headers.raw]
        self.reused = False

    async def receive(self) -> bytes:
        """Return the next piece of the body; b"" at its proven end. Raises UpstreamFailed."""
        try:
            return await anext(self._pieces, b"")
        except httpx.TransportError as error:
            raise _translated(error, None, "answer", "in the middle of its answer") from error

    async def aclose(self) -> None:
        """Give the connection back or close it, within a second whatever httpx does."""
        if not self._open:
            return
        self._open = False
        self._let_go()
        with shielded(_CLOSE_S), suppress(httpx.TransportError, OSError):
            await self._stream.aclose()


async def _pieces(upload: Upload) -> AsyncIterator[bytes]:
    while piece := await upload.next_piece():
        yield piece


def _framing(upload: Upload | None) -> list[Header]:
    if upload is None:
        return []
    if upload.length is None:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", b"%d" % upload.length)]


def _translated(
    error: httpx.TransportError, route: Route | None, phase: str, when: str
) -> UpstreamFailed | LimitReached:
    """Bring httpx's errors to ours: its connect and write time-outs are two of our clocks."""
    if route is not None and isinstance(error, httpx.ConnectTimeout):
        return _as_limit("connect", route.connect)
    if route is not None and isinstance(error, httpx.WriteTimeout):
        return _as_limit("send", route.send)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        return UpstreamFailed("The provider could not be reached.", code="upstream_connect_failed", phase="connect")
    return UpstreamFailed(
        f"The connection to the provider broke {when}.", code="upstream_connection_broke", phase=phase
    )


def _as_limit(phase: str, limit: Limit) -> LimitReached:
    error = limit_reached(phase, limit)
    assert isinstance(error, LimitReached)
    return error
