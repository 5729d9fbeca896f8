"""Proxies between the relay and its peers: one that spoils a TCP connection, and an HTTP proxy that may refuse.

Both run in the test's own trio run; at the end of the block their tasks and sockets are gone.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from relay_trio.testing.fake_client import dial, split_address
from relay_trio.testing.fake_upstream import open_listener
from relay_trio.testing.http_text import Head, Malformed, read_head
from relay_trio.testing.link import Link, PeerGone

MAX_RECORDS = 1000

# ---- A proxy that spoils connections


class Cut(enum.Enum):
    """What a fault proxy does to both sides once it has passed enough bytes."""

    CLOSE = "close"
    RESET = "reset"
    HALF_CLOSE = "half-close"
    """FIN to the receiver, while the other direction goes on."""
    HANG = "hang"
    """Passes nothing more, and closes nothing."""


@attrs.frozen
class Weather:
    """How bytes travel in one direction."""

    latency_s: float = 0.0
    """Before each read's bytes are passed on."""
    dribble: int | None = None
    """Pass on so many bytes at a time, each with the latency; None: as they come."""
    cut_after: int | None = None
    """Cut once so many bytes were passed; None: never."""
    cut: Cut = Cut.CLOSE


@attrs.define(eq=False)
class FaultProxy:
    """A running fault proxy: speak to `address` in place of the target. Weather may be changed; new pieces obey."""

    address: tuple[str, int]
    target: tuple[str, int]
    up: Weather
    """From who connects to the target."""
    down: Weather
    """From the target to who connects."""
    opened: int = 0

    async def serve(self, raw: trio.SocketStream) -> None:
        """Carry one connection to its end."""
        self.opened += 1
        client = Link(raw)
        try:
            upstream = await dial(*self.target)
            await join(client, upstream, partial(self._pass, "up"), partial(self._pass, "down"))
        except OSError:
            client.reset()
        finally:
            client.close()

    async def _pass(self, direction: str, source: Link, sink: Link) -> None:
        passed = 0
        while data := await source.receive():
            weather: Weather = getattr(self, direction)
            for piece in pieces(data, weather, passed):
                await trio.sleep(weather.latency_s)
                await sink.send(piece)
                passed += len(piece)
            if weather.cut_after is not None and passed >= weather.cut_after:
                await cut(weather.cut, source, sink)
                return
        await sink.half_close()


def pieces(data: bytes, weather: Weather, passed: int) -> list[bytes]:
    """Return what is passed on of these bytes, in the pieces in which it is."""
    allowed = data if weather.cut_after is None else data[: weather.cut_after - passed]
    step = weather.dribble or len(data)
    return [allowed[at : at + step] for at in range(0, len(allowed), step)]


async def cut(how: Cut, source: Link, sink: Link) -> None:
    """End the connection in one of the ways."""
    match how:
        case Cut.HALF_CLOSE:
            await sink.half_close()
        case Cut.HANG:
            await trio.sleep_forever()
        case Cut.RESET:
            sink.reset()
            source.reset()
        case Cut.CLOSE:
            sink.close()
            source.close()


@asynccontextmanager
async def open_fault_proxy(
    target: str | tuple[str, int], *, up: Weather | None = None, down: Weather | None = None
) -> AsyncIterator[FaultProxy]:
    """Run a fault proxy before the target for the length of the block."""
    clear = Weather()
    listener = open_listener("127.0.0.1", 0)
    proxy = FaultProxy(listener.socket.getsockname(), split_address(target), up or clear, down or clear)
    async with _served(listener, proxy.serve, "fault proxy"):
        yield proxy


# ---- An HTTP proxy


class ProxyManner(enum.Enum):
    """How an HTTP proxy treats who asks it for a tunnel."""

    TUNNEL = "tunnel"
    """Does what it is asked."""
    REFUSE_407 = "refuse with 407"
    REFUSE_502 = "refuse with 502"
    HANG = "never answer"
    BREAK = "reset in place of an answer"
    GARBAGE = "answer with what is no HTTP"
    SILENT_TUNNEL = "answer 200 and carry nothing"


@attrs.define(eq=False)
class HttpProxy:
    """A running HTTP proxy. `asked` holds the heads of what it was asked, newest last."""

    url: str
    address: tuple[str, int]
    manner: ProxyManner = ProxyManner.TUNNEL
    credentials: str | None = None
    """`user:password`; without it anyone may ask."""
    asked: list[Head] = attrs.field(factory=list)

    @property
    def lines(self) -> list[str]:
        """The request lines of what it was asked: `CONNECT 127.0.0.1:443 HTTP/1.1`."""
        return [head.start_line.decode("latin-1") for head in self.asked]

    async def serve(self, raw: trio.SocketStream) -> None:
        """Carry one connection to its end."""
        client = Link(raw)
        try:
            head = await read_head(client)
            self.asked.append(head)
            del self.asked[:-MAX_RECORDS]
            await self._answer(client, head)
        except (PeerGone, Malformed, OSError):
            client.reset()
        finally:
            client.close()

    async def _answer(self, client: Link, head: Head) -> None:
        manner = self.manner if self._knows(head) else ProxyManner.REFUSE_407
        match manner:
            case ProxyManner.TUNNEL:
                await self._carry(client, head)
            case ProxyManner.REFUSE_407:
                await client.send(REFUSALS[manner])
                await client.finish()
            case ProxyManner.REFUSE_502:
                await client.send(REFUSALS[manner])
                await client.finish()
            case ProxyManner.HANG:
                await client.wait_peer_gone()
            case ProxyManner.BREAK:
                client.reset()
            case ProxyManner.GARBAGE:
                await client.send(b"\x00\xff220 mail.example ESMTP\r\n\r\n")
                await client.finish()
            case ProxyManner.SILENT_TUNNEL:
                await client.send(ESTABLISHED)
                await client.wait_peer_gone()

    def _knows(self, head: Head) -> bool:
        if self.credentials is None:
            return True
        return head.get("proxy-authorization") == "Basic " + base64.b64encode(self.credentials.encode()).decode()

    async def _carry(self, client: Link, head: Head) -> None:
        method, target, _ = head.start_line.decode("latin-1").split(" ")
        if method == "CONNECT":
            upstream = await dial(*split_address(f"tunnel://{target}"))
            await client.send(ESTABLISHED)
        else:
            upstream = await dial(*split_address(target))
            await upstream.send(in_origin_form(head))
        await join(client, upstream, copy, copy)


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nvia: 1.1 fake\r\n\r\n"

REFUSALS = {
    ProxyManner.REFUSE_407: (
        b'HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="fake"\r\n'
        b"content-length: 6\r\nconnection: close\r\n\r\nwho?\r\n"
    ),
    ProxyManner.REFUSE_502: b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\nconnection: close\r\n\r\nno\r\n",
}


def in_origin_form(head: Head) -> bytes:
    """Return the head of a request in absolute form as the server itself wants it (RFC 9112 section 3.2)."""
    method, target, version = head.start_line.split(b" ")
    path = b"/" + target.split(b"/", 3)[3] if target.count(b"/") > 2 else b"/"
    fields = b"".join(b"%b: %b\r\n" % field for field in head.headers if not field[0].lower().startswith(b"proxy-"))
    return b"%b %b %b\r\n%b\r\n" % (method, path, version, fields)


@asynccontextmanager
async def open_http_proxy(
    manner: ProxyManner = ProxyManner.TUNNEL, *, credentials: str | None = None
) -> AsyncIterator[HttpProxy]:
    """Run an HTTP proxy for the length of the block. It tunnels with CONNECT and forwards absolute URLs."""
    listener = open_listener("127.0.0.1", 0)
    address = listener.socket.getsockname()
    proxy = HttpProxy(f"http://{address[0]}:{address[1]}", address, manner, credentials)
    async with _served(listener, proxy.serve, "HTTP proxy"):
        yield proxy


# ---- What both need

Carry = Callable[[Link, Link], Awaitable[None]]


async def join(client: Link, upstream: Link, up: Carry, down: Carry) -> None:
    """Carry bytes both ways until both directions have ended or one has broken; then the upstream is closed."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carried, up, client, upstream, nursery.cancel_scope)
            nursery.start_soon(_carried, down, upstream, client, nursery.cancel_scope)
    finally:
        upstream.close()


async def _carried(carry: Carry, source: Link, sink: Link, both: trio.CancelScope) -> None:
    try:
        await carry(source, sink)
    except PeerGone:
        source.reset()
        sink.reset()
        both.cancel(reason="one side of the proxy broke")


async def copy(source: Link, sink: Link) -> None:
    """Pass bytes on as they come, and the FIN behind them. Raises PeerGone."""
    while data := await source.receive():
        await sink.send(data)
    await sink.half_close()


@asynccontextmanager
async def _served(
    listener: trio.SocketListener, serve: Callable[[trio.SocketStream], Awaitable[None]], name: str
) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, serve, [listener]), name=name)  # noqa: ASYNC113 - it listens
        try:
            yield
        finally:
            nursery.cancel_scope.cancel(reason=f"the {name}'s block has ended")
