"""One HTTP/1.1 connection of a client, in the place of hypercorn's own connection class.

hypercorn stays the server: its process, its configuration, its sockets, its lifespan and its shutdown. This class stands
at one seam (`edge/seam.py`) because hypercorn's shields its writes without a bound: a client that stops reading would
hold its request for ever. Here the application runs in the connection's own task, every write can be cancelled and is
under the client-write clock, and the client's leaving is told by the hub while nobody reads.

Of the application hypercorn knows the lifespan only. Each request is put before the relay as a `ClientRequest`, whose
`side` is the exchange that is made for it here: ASGI's dictionaries would say less, and cost a twentieth of a request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import unquote

import attrs
import trio

from adaptors.values import Header
from relay_trio.edge.accepting import AcceptGate
from relay_trio.edge.http_exchange import STATUS_LINES, HTTPExchange
from relay_trio.edge.incoming import Incoming, Refusal, RequestParser, origin_form
from relay_trio.errors import BadRequest, LimitReached
from relay_trio.relay.exchange import ClientRequest
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, LimitedPhase
from relay_trio.scopes.shielded import shielded
from relay_trio.scopes.wheel import TimingWheel
from relay_trio.sockets import Hub, HubSocket, TlsHubSocket, with_tls

_MAX_REST_BYTES = 64 * 1024
"""How much of a body that nobody wanted is still read, so that the answer is not lost to a reset (RFC 9112, 9.6)."""
_REST_S = 1.0
_USER_TIMEOUT_SLACK_S = 10
CONNECTION_LOOK_S = 0.5
"""How often the reaper looks at those whose time has come."""


class Dated(Protocol):
    """Gives the value of the Date header."""

    def __call__(self) -> bytes:
        """Return it."""
        ...


@attrs.frozen
class ConnectionServices:
    """What every connection of a process shares. The application puts it into the ASGI lifespan state."""

    hub: Hub
    balance: Balance
    gate: AcceptGate
    head: Limit
    idle: Limit
    write: Limit
    date: Dated
    tls: Callable[[Any], ssl.SSLContext]
    """Returns the server's TLS context for hypercorn's configuration."""
    refused: Callable[[int, str, str | None], None]
    """Is told (status, code, client's address) of input that never became a request."""
    crashed: Callable[[BaseException], None]
    """Is told of what should never come out of the application: it must not end the server."""
    client_address: Callable[[str | None, list[Header]], str | None]
    """Returns the client's address as the log shall have it: X-Forwarded-For is believed from trusted proxies only."""
    drain_s: float
    """How long live requests may go on when hypercorn shuts down by itself."""
    live: TimingWheel[ClientConnection] = attrs.field(factory=lambda: TimingWheel(CONNECTION_LOOK_S))
    """All of them, for the reaper."""


class Relay(Protocol):
    """What the application's lifespan leaves for the connections in the ASGI state."""

    @property
    def connections(self) -> ConnectionServices:
        """What they share."""
        ...

    async def serve(self, request: ClientRequest) -> None:
        """Answer one request. Raises nothing but Cancelled."""
        ...


class ClientConnection:
    """One client connection. Awaited once, by hypercorn's accept loop; never raises but Cancelled."""

    def __init__(self, app: Any, config: Any, context: Any, state: dict[str, Any], stream: Any) -> None:  # noqa: ARG002 - hypercorn's signature
        self._config = config
        self._context = context
        self._stream = stream
        self._relay: Relay = state["relay_trio"]
        self._services: ConnectionServices = self._relay.connections
        self._scope = trio.CancelScope()
        self.kick_at = float("inf")
        """When the reaper ends this connection: set while it waits for a head, infinite while a request is served."""
        self.idle = False
        self._parser = RequestParser()
        self._write_limit = self._services.write
        self._unsent: memoryview | None = None
        self._on_disconnect: Callable[[], None] | None = None
        self._has_gone = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self._run().__await__()

    def __repr__(self) -> str:
        return f"<ClientConnection {self._client}>"

    # The life of a connection

    async def _run(self) -> None:
        self._tls = isinstance(self._stream, trio.SSLStream)
        transport = self._stream.transport_stream if self._tls else self._stream
        raw = socket.socket(fileno=transport.socket.detach())
        services = self._services
        # hypercorn's own default cuts live streams after 3 s; read when its shutdown begins.
        self._config.graceful_timeout = max(self._config.graceful_timeout, services.drain_s)
        services.balance.client_connections.opened += 1
        services.live.put(self, 0.0)  # the next look asks when
        self._sock: HubSocket | None = None
        try:
            with self._scope:
                await self._serve_all(raw)
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError, LimitReached):
            pass  # the client is gone or stalled: the request, if there was one, has logged it
        except Exception as error:  # noqa: BLE001 - a server's last wall: what passes it ends all other requests
            services.crashed(error)
        finally:
            services.live.remove(self)
            services.balance.client_connections.closed += 1
            self._close(raw)
            services.gate.left()

    async def _serve_all(self, raw: socket.socket) -> None:
        self._set_options(raw)
        self._client = raw.getpeername()[:2]
        self.idle = not self._tls  # a handshake is part of the head's time, waiting for the first byte is not
        self._wait_for_head(self._services.head)
        if self._tls:
            raw = with_tls(raw, self._services.tls(self._config))
        self._sock = sock = self._services.hub.attach(raw, self._told_hangup)
        if isinstance(sock, TlsHubSocket):
            await sock.handshake()
        while await self._read_head() and await self._serve_one():
            pass

    def _set_options(self, raw: socket.socket) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # the second net: what no cancel scope sees, the kernel ends
            seconds = self._services.write.seconds + _USER_TIMEOUT_SLACK_S
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def _close(self, raw: socket.socket) -> None:
        self._parser.close()
        if self._sock is None:
            raw.close()
        elif self._unsent:
            self._sock.abort()  # a client that does not read would keep the bytes in the kernel
        else:
            self._sock.close()

    def _wait_for_head(self, limit: Limit) -> None:
        self.kick_at = trio.current_time() + limit.seconds

    def kick(self, reason: str) -> None:
        """End a connection that waits for a head for too long, or that is idle when the server goes down."""
        self.kick_at = float("inf")
        if self._sock is not None and self._parser.in_head:
            refusal = Refusal(408, "request_head_timeout", f"No complete request head came within {reason}.")
            self._services.refused(refusal.status, refusal.code, self._client[0])
            with suppress(OSError):  # it may leave at this very moment, and the reaper serves all others too
                self._sock.send_now(self._refusal_bytes(refusal))
        self._scope.cancel(reason=reason)

    @property
    def waits(self) -> bool:
        """No request is being served."""
        return self.kick_at != float("inf")

    @property
    def terminated(self) -> bool:
        """Hypercorn is shutting down: idle connections have no reason to stay."""
        return bool(self._context.terminated.is_set())

    @property
    def leaving(self) -> bool:
        """The next answer is the last one here. An idle connection may still ask for it: a close could cross its request."""
        return self.terminated or self._services.gate.stopped

    def _told_hangup(self) -> None:
        self._has_gone = True
        if self._on_disconnect is not None:
            self._on_disconnect()

    # Reading a head

    async def _read_head(self) -> bool:
        """Return True when the next request's head is here, False when there will be none."""
        parser = self._parser
        while not parser.head_is_here:
            if parser.refusal is not None:
                await self._refuse(parser.refusal)
                return False
            data = await self._receive()
            if not data:
                return False
            if self.idle:
                self.idle = False
                if not parser.head_is_here:
                    self._wait_for_head(self._services.head)
        self.kick_at = float("inf")
        return True

    async def _receive(self) -> bytes:
        assert self._sock is not None
        data = await self._sock.receive_some()
        if data:
            self._parser.feed(data)
        return data

    # Serving one request

    async def _serve_one(self) -> bool:
        """Run the application for one request; return True if the connection can take another."""
        request = self._parser.requests[0]
        exchange = HTTPExchange(self, request)
        self._write_limit = self._services.write
        self._has_gone = self._sock is not None and self._sock.hung_up
        await self._relay.serve(self._client_request(request, exchange))
        self._on_disconnect = None
        if not exchange.finished:
            await self._end_truncated()
            return False
        if not exchange.keep_alive or not await self._skip_rest(request):
            await self._linger()
            return False
        self._parser.requests.popleft()
        self.idle = not self._parser.requests
        self._wait_for_head(self._services.idle if self.idle else self._services.head)
        return not self.terminated

    def _client_request(self, request: Incoming, exchange: HTTPExchange) -> ClientRequest:
        path, _, query = origin_form(request.target).partition(b"?")
        text = path.decode("latin-1")
        return ClientRequest(
            request.method.decode("latin-1"),
            unquote(text) if "%" in text else text,
            path,
            query,
            request.headers,
            request.fields,
            self._services.client_address(self._client[0] if self._client else None, request.headers),
            exchange,
        )

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call this when the client leaves before its answer is complete; at once, if it has left already."""
        self._on_disconnect = callback
        if self._has_gone:
            callback()

    def limit_writes(self, limit: Limit | None) -> None:
        """Let this clock hold for the writes of this request; None: the relay's own."""
        self._write_limit = limit or self._services.write

    def answer_complete(self) -> None:
        """From here on the client's leaving concerns nobody: it may be the end of the answer that makes it leave."""
        self._on_disconnect = None

    def date(self) -> bytes:
        """Return the value of the Date header."""
        return self._services.date()

    async def read_body(self, request: Incoming) -> None:
        """Read until the request has another piece or is complete.

        Raises BadRequest where it is not framed as HTTP has it, trio.BrokenResourceError and OSError at an early end.
        """
        if request.wants_continue:
            request.wants_continue = False
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (request.pieces or request.complete):
            refusal = self._parser.refusal
            if refusal is not None:
                raise BadRequest(refusal.message, status=refusal.status, code=refusal.code)
            if not await self._receive():
                raise trio.BrokenResourceError("the request's body broke off")

    # Writing

    async def write(self, data: bytes) -> None:
        """Write it all. What a cancelled write leaves is kept and goes first when writing goes on.

        Raises LimitReached when a write makes no progress for the client-write limit, OSError when the client is gone.
        """
        if self._unsent:
            await self.flush()
        self.write_now(data)
        if self._unsent:
            await self.flush()

    @property
    def all_sent(self) -> bool:
        """The kernel has taken all that was written."""
        return not self._unsent

    def write_now(self, data: bytes) -> None:
        """Write what the kernel takes now and keep the rest: only if nothing was kept before. Raises OSError."""
        assert self._sock is not None
        sent = self._sock.send_now(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]

    async def flush(self) -> None:
        """Write what was kept. Raises LimitReached when a write makes no progress for the client-write limit, OSError."""
        assert self._sock is not None
        if not self._unsent:
            return
        with LimitedPhase("client_write", self._write_limit) as phase:
            while self._unsent:
                await self._sock.wait_writable()
                sent = self._sock.send_now(self._unsent)
                if sent:
                    phase.progress()
                    self._unsent = self._unsent[sent:]
        self._unsent = None

    async def _end_truncated(self) -> None:
        """End an answer that is not complete: FIN without the last chunk, after everything that was written."""
        with shielded(_REST_S):
            if self._unsent:
                await self.flush()
        if not self._unsent:
            await self._linger()

    async def _linger(self) -> None:
        """Close so that the answer arrives: FIN, then read on a little, else unread bytes make the close a reset."""
        assert self._sock is not None
        self._sock.shutdown_write()
        with shielded(_REST_S):
            read = 0
            while read < _MAX_REST_BYTES:
                data = await self._sock.receive_some()
                if not data:
                    return
                read += len(data)

    async def _skip_rest(self, request: Incoming) -> bool:
        """Read past what the application did not take of the body; False when that is too much."""
        if request.complete:
            request.pieces.clear()
            return request.keep_alive
        skipped = sum(map(len, request.pieces))
        request.pieces.clear()
        with trio.move_on_after(_REST_S):
            while not request.complete:
                if request.wants_continue or skipped > _MAX_REST_BYTES or not await self._receive():
                    return False
                skipped += sum(map(len, request.pieces))
                request.pieces.clear()
            return request.keep_alive
        return False

    # Input that never becomes a request

    async def _refuse(self, refusal: Refusal) -> None:
        self.kick_at = float(
            "inf"
        )  # it gets this answer and no second one; writing and lingering have their own bounds
        self._services.refused(refusal.status, refusal.code, self._client[0] if self._client else None)
        await self.write(self._refusal_bytes(refusal))
        await self._linger()

    def _refusal_bytes(self, refusal: Refusal) -> bytes:
        body = (
            b'{"error": {"message": "%b", "type": "invalid_request_error", "param": null, "code": "%b"}}'
            % (refusal.message.encode("ascii"), refusal.code.encode("ascii"))
        )  # fmt: skip
        return b"%bdate: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
            STATUS_LINES[refusal.status],
            self._services.date(),
            len(body),
            body,
        )
