"""httpx's own transport behind the interface of ours: for SOCKS proxies, and as a way out (`transport = "httpx"`).

Slower by a factor of ten, with the same limits, the same errors, and a close that is as sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

import httpcore
import httpx
import trio

from adaptors.values import Header, UpstreamRequest
from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import UNLIMITED, Limit, LimitedPhase, PhaseClock, limit_reached
from relay_trio.scopes.shielded import shielded
from relay_trio.upstream.connect import KEEP_AWAKE
from relay_trio.upstream.target import Route, split_url
from relay_trio.upstream.transport import METHODS_WITH_BODY, NextPiece, Upload

_CLOSE_S = 1.0
"""httpx's close of a body that was not read to its end may wait for the peer: no longer than this."""


class HttpxSender:
    """Sends requests by httpx.AsyncHTTPTransport. One for each channel that wants it."""

    def __init__(self, balance: Balance, route: Route, proxy: str | None) -> None:
        self._count = balance.upstream_connections
        self._tls = route.tls
        self._proxy = proxy
        self.in_flight = 0

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> HttpxResponse:
        """Send a request and return when the head of its answer is here. Raises UpstreamFailed, LimitReached."""
        sockets = _Sockets()
        self._count.opened += 1
        self.in_flight += 1
        try:
            with clock.limited("connect", route.connect) as phase:
                watch = _Watch(clock, phase, headers or UNLIMITED)
                response = await self._send(_httpx_request(request, route, upload, watch), sockets, route, clock)
        except BaseException:
            self._let_go(sockets)
            raise
        return HttpxResponse(response, lambda: self._let_go(sockets))

    def _let_go(self, sockets: _Sockets) -> None:
        sockets.close()
        self._count.closed += 1
        self.in_flight -= 1

    async def _send(self, request: httpx.Request, sockets: _Sockets, route: Route, clock: PhaseClock) -> httpx.Response:
        try:
            return await self._transport(sockets).handle_async_request(request)
        except httpx.WriteTimeout as error:
            limit = limit_reached("send", route.send)
            assert isinstance(limit, LimitReached)
            raise limit from error
        except httpx.TransportError as error:
            raise _translated(error, clock.current, "before it sent an answer") from error

    def _transport(self, sockets: _Sockets) -> httpx.AsyncHTTPTransport:
        """Return a transport for one request.

        No connection is kept for another: httpx takes bytes that came unasked on a kept connection for the next
        request's answer, and does not repeat a request that failed because its connection had died.
        """
        transport = httpx.AsyncHTTPTransport(
            verify=self._tls, proxy=self._proxy, limits=httpx.Limits(max_keepalive_connections=0)
        )
        transport._pool._network_backend = sockets  # noqa: SLF001 - httpx has no parameter for what httpcore takes
        return transport

    async def aclose(self) -> None:
        """Close what is idle: nothing ever is."""


class _Sockets(httpcore.AsyncNetworkBackend):
    """What httpcore opens for one request, so that all of it can be closed, whatever httpcore does.

    It forgets the socket when a TLS handshake is cancelled, and when a SOCKS proxy fails (httpcore 1.0.9).
    """

    def __init__(self) -> None:
        self._opened: list[Any] = []
        self._trio = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect as httpcore does, and remember the socket."""
        options = [*(socket_options or ()), *KEEP_AWAKE]
        stream = await self._trio.connect_tcp(host, port, timeout, local_address, options)
        self._opened.append(stream.get_extra_info("socket"))
        return stream

    def close(self) -> None:
        """Close all sockets, without a checkpoint."""
        for sock in self._opened:
            sock.close()


class _Watch:
    """Follows httpcore through its phases (its `trace` extension), so that each has our clock and our name."""

    def __init__(self, clock: PhaseClock, phase: LimitedPhase, headers: Limit) -> None:
        self._clock = clock
        self._phase = phase
        self._headers = headers

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one of httpcore's events."""
        request = info.get("request")
        if request is None or request.method == b"CONNECT":  # the proxy's tunnel is a part of connecting
            return
        if event == "http11.send_request_headers.started":
            self._enter("send", UNLIMITED)  # httpx holds the limit of each write
        elif event == "http11.receive_response_headers.started":
            self._enter("headers", self._headers)

    def _enter(self, phase: str, limit: Limit) -> None:
        self._clock.enter(phase)
        self._phase.turn_into(phase, limit)


class HttpxResponse:
    """The answer on a connection of httpx."""

    def __init__(self, response: httpx.Response, let_go: Callable[[], None]) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._pieces = aiter(response.stream)
        self._let_go = let_go
        self._open = True
        self._ended = False
        self.status = response.status_code
        self.headers: list[Header] = [(name.lower(), value) for name, value in response.headers.raw]
        self.fields = dict(reversed(self.headers))
        self.reused = False

    @property
    def ended(self) -> bool:
        """An end is told only to whoever asks for more."""
        return False

    async def receive(self) -> bytes:
        """Return the next piece of the body; b"" at its proven end. Raises UpstreamFailed."""
        try:
            return await anext(self._pieces, b"")
        except httpx.TransportError as error:
            raise _translated(error, "answer", "in the middle of its answer") from error

    async def aclose(self) -> None:
        """Close the connection, within a second whatever httpx does. Never raises but Cancelled; may be called twice."""
        if not self._open:
            return
        self._open = False
        try:
            with shielded(_CLOSE_S), suppress(httpx.TransportError, OSError):
                await self._end_pieces()
        finally:
            self._let_go()

    async def _end_pieces(self) -> None:
        """Bring httpx's generators to their end: one that is left half read runs on when it is collected.

        What httpx has read ahead still comes; where it would wait for more it is cancelled, and closes the connection.
        """
        with trio.CancelScope() as reading:
            reading.cancel(reason="the answer is not read on")
            async for _ in self._pieces:
                pass


class _Body(httpx.AsyncByteStream):
    """A request's body, piece by piece. No async generator, because a failed request leaves it half read."""

    def __init__(self, next_piece: NextPiece) -> None:
        self._next_piece = next_piece

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next_piece()
        if not piece:
            raise StopAsyncIteration
        return piece


def _httpx_request(request: UpstreamRequest, route: Route, upload: Upload | None, watch: _Watch) -> httpx.Request:
    origin, _ = split_url(request.url)
    return httpx.Request(
        request.method.decode("ascii"),
        request.url,
        headers=[(b"host", origin.authority), *request.headers, *_framing(request, upload)],
        stream=_Body(_whole(request.body or b"") if upload is None else upload.next_piece),
        extensions={"timeout": {"write": route.send.seconds}, "trace": watch},
    )


def _whole(body: bytes) -> NextPiece:
    pieces = [body]

    async def next_piece() -> bytes:
        return pieces.pop() if pieces else b""

    return next_piece


def _framing(request: UpstreamRequest, upload: Upload | None) -> list[Header]:
    length = len(request.body or b"") if upload is None else upload.length
    if length is None:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", b"%d" % length)] if length or request.method in METHODS_WITH_BODY else []


def _translated(error: httpx.TransportError, phase: str, when: str) -> UpstreamFailed:
    """Bring httpx's errors to ours."""
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        return UpstreamFailed("The provider could not be reached.", code="upstream_connect_failed", phase="connect")
    return UpstreamFailed(
        f"The connection to the provider broke {when}.", code="upstream_connection_broke", phase=phase
    )
