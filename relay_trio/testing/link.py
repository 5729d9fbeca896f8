"""One TCP or TLS connection of a fake, and every way in which it can end.

The law: who holds a link decides how it ends (FIN, RST, half-close, silence), and afterwards `ended_by` says who did.
A link has one reader and one writer at a time. Everything here can be cancelled; `close` and `reset` never block.
"""

from __future__ import annotations

import enum
import socket
import ssl
import struct
import sys

import attrs
import trio

FINISH_S = 2.0
"""How long a link that has said its last word waits for the peer to close too, as a server's lingering close does."""

MAX_AHEAD_BYTES = 1024 * 1024
"""What a link takes in while nobody asks for it (pipelined requests); beyond it the peer has to wait."""

MAX_DRAINED_BYTES = 64 * 1024 * 1024
"""What is read and thrown away on the way out, so that an endless sender cannot hold a link."""

RECEIVE_BYTES = 65536

# The layout of `struct linger`: two ints everywhere, two shorts in Winsock.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class EndedBy(enum.Enum):
    """Who ended a link, and how."""

    PEER_CLOSED = "the peer sent FIN"
    PEER_RESET = "the peer reset it"
    CLOSED = "we closed it"
    RESET = "we reset it"


class PeerGone(Exception):
    """The peer closed or reset the connection while something else was expected of it."""


@attrs.define(eq=False)
class Link:
    """A connection on a real socket. `ended_by` is None as long as both sides are there."""

    raw: trio.SocketStream
    stream: trio.abc.Stream = attrs.field(default=attrs.Factory(lambda self: self.raw, takes_self=True))
    ahead: bytearray = attrs.field(factory=bytearray, repr=False)
    ended_by: EndedBy | None = None
    told_to_read: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when a behaviour that never reads is to let go (`FakeUpstream.wait_no_connections`)."""
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def peer_first(self) -> bool:
        """The peer was the one who ended the link."""
        return self.ended_by in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}

    # ---- TLS

    async def start_tls_as_server(self, context: ssl.SSLContext) -> None:
        """Put TLS on the link. Raises PeerGone when the handshake fails."""
        await self._handshake(trio.SSLStream(self.raw, context, server_side=True, https_compatible=True))

    async def start_tls_as_client(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Put TLS on the link. Raises PeerGone when the handshake fails."""
        await self._handshake(trio.SSLStream(self.raw, context, server_hostname=server_hostname, https_compatible=True))

    async def _handshake(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as exc:
            self._ended(EndedBy.PEER_RESET)
            raise PeerGone("the TLS handshake failed") from exc
        self.stream = stream

    # ---- Writing

    async def send(self, data: bytes) -> None:
        """Send all of it; blocks while the peer does not read. Raises PeerGone."""
        if self.ended_by not in {None, EndedBy.PEER_CLOSED}:  # a peer that sent FIN may still read
            raise PeerGone("the connection has ended")
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._ended(EndedBy.PEER_RESET)
            raise PeerGone("the peer went while we sent") from exc
        self.bytes_sent += len(data)

    # ---- Reading

    async def receive(self) -> bytes:
        """Return the bytes that come next, b"" once the peer has sent FIN. Raises PeerGone on a reset."""
        if self.ahead:
            data = bytes(self.ahead)
            self.ahead.clear()
            return data
        return await self._receive()

    async def _receive(self) -> bytes:
        if self.ended_by is EndedBy.PEER_CLOSED:
            await trio.lowlevel.checkpoint()
            return b""
        try:
            data = bytes(await self.stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._ended(EndedBy.PEER_RESET)
            raise PeerGone("the peer reset the connection") from exc
        if not data:
            self._ended(EndedBy.PEER_CLOSED)
        self.bytes_received += len(data)
        return data

    async def read_until(self, mark: bytes, limit: int) -> bytes:
        """Return everything up to and with `mark`. Raises PeerGone at an early end, ValueError beyond `limit`."""
        while (at := self.ahead.find(mark)) < 0:
            if len(self.ahead) > limit:
                raise ValueError(f"no {mark!r} within {limit} bytes")
            await self._read_ahead()
        return self._take(at + len(mark))

    async def read_some(self, at_most: int) -> bytes:
        """Return at least one byte and no more than `at_most`. Raises PeerGone at the end."""
        if not self.ahead:
            await self._read_ahead()
        return self._take(min(at_most, len(self.ahead)))

    async def at_end(self) -> bool:
        """Wait for the next byte or the end; True at the end (FIN). Takes nothing. Raises PeerGone on a reset."""
        if self.ahead:
            return False
        data = await self._receive()
        self.ahead += data
        return not data

    async def _read_ahead(self) -> None:
        data = await self._receive()
        if not data:
            raise PeerGone("the peer closed the connection in the middle")
        self.ahead += data

    def _take(self, size: int) -> bytes:
        data = bytes(self.ahead[:size])
        del self.ahead[:size]
        return data

    # ---- Waiting

    async def wait_peer_gone(self) -> None:
        """Read and throw away until the peer closes or resets."""
        self.ahead.clear()
        try:
            while await self._receive():
                pass
        except PeerGone:
            return

    async def pause(self, seconds: float) -> None:
        """Let the seconds go by. Raises PeerGone as soon as the peer leaves; what it sends meanwhile is kept."""
        with trio.move_on_after(seconds):
            while len(self.ahead) < MAX_AHEAD_BYTES:
                await self._read_ahead()
            await trio.sleep(seconds)

    # ---- The ways to end

    def close(self) -> None:
        """Close the socket at once: the peer sees FIN, or RST if it had sent bytes that nobody read."""
        self._ended(EndedBy.CLOSED)
        self.raw.socket.close()

    def reset(self) -> None:
        """Close the socket so that the peer sees RST and what was not sent yet is lost."""
        if self.ended_by is not EndedBy.PEER_RESET and self.raw.socket.fileno() >= 0:
            self.raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._ended(EndedBy.RESET)
        self.raw.socket.close()

    async def half_close(self) -> None:
        """Send FIN and go on reading. Under TLS this is a bare FIN without close_notify. Raises PeerGone."""
        try:
            await self.raw.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._ended(EndedBy.PEER_RESET)
            raise PeerGone("the peer went before our FIN") from exc

    async def finish(self) -> None:
        """End cleanly: what was sent arrives, then FIN (after close_notify under TLS). Takes FINISH_S at most."""
        if self.ended_by is None:
            self.ended_by = EndedBy.CLOSED
            with trio.move_on_after(FINISH_S):
                await self._say_goodbye()
        self.close()

    async def _say_goodbye(self) -> None:
        try:
            if isinstance(self.stream, trio.SSLStream):
                await self.stream.unwrap()  # its aclose, made for HTTPS, leaves close_notify out
                return
            await self.raw.send_eof()
            await self.drain()
        except (PeerGone, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the peer was quicker; nothing is owed to it

    async def drain(self) -> None:
        """Read and throw away what the peer still sends, MAX_DRAINED_BYTES at most. Raises PeerGone on a reset."""
        until = self.bytes_received + MAX_DRAINED_BYTES
        while self.bytes_received < until and await self._receive():
            pass

    def _ended(self, how: EndedBy) -> None:
        if self.ended_by is None:
            self.ended_by = how
