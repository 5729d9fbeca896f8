"""One HTTP/1.1 connection of a client, in the place of hypercorn's own connection class.

hypercorn stays the server: its process, its configuration, its sockets, its lifespan and its shutdown. This class stands
at one seam (`edge/seam.py`) because hypercorn's shields its writes without a bound: a client that stops reading would
hold its request for ever. Here the application runs in the connection's own task, every write can be cancelled and is
under the client-write clock, and the client's leaving is told by the hub while nobody reads.

The application sees plain ASGI with one extension: `scope["extensions"]["relay_trio.on_disconnect"]`, to which it gives
a function that is called, synchronously, when the client leaves before the answer is complete.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

import attrs
import httptools
import trio

from relay_trio.edge.accepting import AcceptGate
from relay_trio.errors import LimitReached
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, LimitedPhase
from relay_trio.scopes.shielded import shielded
from relay_trio.sockets import Hub, HubSocket, TlsHubSocket

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 100
_MAX_REST_BYTES = 64 * 1024
"""How much of a body that nobody wanted is still read, so that the answer is not lost to a reset (RFC 9112, 9.6)."""
_REST_S = 1.0
_USER_TIMEOUT_SLACK_S = 10
_HTTP2_PREFACE = b"PRI * HTTP/2.0"

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus
}
_BODILESS = frozenset({204, 304})

Message = dict[str, Any]
Application = Callable[..., Awaitable[None]]


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
    drain_s: float
    """How long live requests may go on when hypercorn shuts down by itself."""
    live: set[ClientConnection] = attrs.field(factory=set)


@attrs.define(eq=False)
class _Incoming:
    """One request as it comes in. `pieces` holds what one read gave and nobody has taken yet."""

    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    method: bytes = b""
    http_10: bool = False
    keep_alive: bool = False
    head_complete: bool = False
    complete: bool = False
    wants_continue: bool = False
    pieces: deque[bytes] = attrs.field(factory=deque)


@attrs.frozen
class _Refusal:
    status: int
    code: str
    message: str


class ClientConnection:
    """One client connection. Awaited once, by hypercorn's accept loop; never raises but Cancelled."""

    def __init__(self, app: Application, config: Any, context: Any, state: dict[str, Any], stream: Any) -> None:
        self._app = getattr(app, "app", app)  # hypercorn wraps it for its own arguments; we call it as ASGI has it
        self._config = config
        self._context = context
        self._state = state
        self._stream = stream
        self._services: ConnectionServices = state["relay_trio"].connections
        self._scope = trio.CancelScope()
        self.kick_at = float("inf")
        """When the reaper ends this connection: set while it waits for a head, infinite while a request is served."""
        self.idle = False
        self._parser: Any = httptools.HttpRequestParser(self)
        self._requests: deque[_Incoming] = deque()
        self._parsing = _Incoming()
        self._head_bytes = 0
        self._refusal: _Refusal | None = None
        self._unsent: memoryview | None = None
        self._on_disconnect: Callable[[], None] | None = None
        self._gone = trio.Event()

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
        services.gate.entered()
        services.live.add(self)
        self._sock: HubSocket | None = None
        try:
            with self._scope:
                await self._serve_all(raw)
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError, LimitReached):
            pass  # the client is gone or stalled: the request, if there was one, has logged it
        except Exception as error:  # noqa: BLE001 - a server's last wall: what passes it ends all other requests
            services.crashed(error)
        finally:
            services.live.discard(self)
            services.balance.client_connections.closed += 1
            self._close(raw)
            services.gate.left()

    async def _serve_all(self, raw: socket.socket) -> None:
        self._set_options(raw)
        self._client, self._server = raw.getpeername()[:2], raw.getsockname()[:2]
        self._wait_for_head(self._services.head)
        if self._tls:
            raw = self._services.tls(self._config).wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
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
        if self._sock is not None and not self.idle and self._head_bytes:
            refusal = _Refusal(408, "request_head_timeout", f"No complete request head came within {reason}.")
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

    def _told_hangup(self) -> None:
        self._gone.set()
        if self._on_disconnect is not None:
            self._on_disconnect()

    # Reading a head

    async def _read_head(self) -> bool:
        """Return True when the next request's head is here, False when there will be none."""
        while not (self._requests and self._requests[0].head_complete):
            if self._refusal is not None:
                await self._refuse(self._refusal)
                return False
            data = await self._receive()
            if not data:
                return False
            if self.idle:
                self.idle = False
                self._wait_for_head(self._services.head)
        self.kick_at = float("inf")
        return True

    async def _receive(self) -> bytes:
        assert self._sock is not None
        data = await self._sock.receive_some()
        if data:
            self._feed(data)
        return data

    def _feed(self, data: bytes) -> None:
        if not self._parsing.head_complete:
            if not self._head_bytes and data.startswith(_HTTP2_PREFACE):
                self._refusal = _Refusal(505, "http2_not_supported", "HTTP/2 is not offered here; use HTTP/1.1.")
                return
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parsing.keep_alive = False  # the application answers 501; what follows is not HTTP
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refusal = _Refusal(400, "bad_http", "The request is not valid HTTP/1.1.")
            self._parsing.keep_alive = False
            return
        if not self._parsing.head_complete and self._head_bytes > MAX_HEAD_BYTES:
            self._head_too_large()

    def _head_too_large(self) -> None:
        self._refusal = _Refusal(
            431,
            "request_head_too_large",
            f"The request head is over {MAX_HEAD_BYTES // 1024} KiB or {MAX_HEAD_FIELDS} fields.",
        )

    # What the parser tells (llhttp's callbacks, by httptools)

    def on_message_begin(self) -> None:
        """A new request begins, maybe behind one that is still being served (pipelining)."""
        self._parsing = _Incoming()
        self._requests.append(self._parsing)
        self._field_bytes = 0

    def on_url(self, part: bytes) -> None:
        """Take a part of the request target."""
        self._parsing.target += part
        self._field_bytes += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are dropped, as nobody may rely on them (RFC 9110, 6.5.1)."""
        request = self._parsing
        if request.head_complete:
            return
        self._field_bytes += len(name) + len(value) + 4
        request.headers.append((name.lower(), value))
        if len(request.headers) > MAX_HEAD_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            self._head_too_large()
            raise ValueError("head too large")  # the parser stops here

    def on_headers_complete(self) -> None:
        """The head is here."""
        request = self._parsing
        request.method = self._parser.get_method()
        request.http_10 = self._parser.get_http_version() == "1.0"
        request.keep_alive = self._parser.should_keep_alive()
        request.wants_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in request.headers
        )
        request.head_complete = True
        self._head_bytes = 0

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body until the application takes it; one read bounds how much."""
        self._parsing.pieces.append(data)

    def on_message_complete(self) -> None:
        """The framing says that the request is complete."""
        self._parsing.complete = True

    # Serving one request

    async def _serve_one(self) -> bool:
        """Run the application for one request; return True if the connection can take another."""
        request = self._requests[0]
        exchange = _Exchange(self, request)
        self._gone = trio.Event()
        if self._sock is not None and self._sock.hung_up:
            self._gone.set()
        await self._app(self._asgi_scope(request), exchange.receive, exchange.send)
        self._on_disconnect = None
        if not exchange.finished:
            await self._end_truncated()
            return False
        if not exchange.keep_alive or not await self._skip_rest(request):
            await self._linger()
            return False
        self._requests.popleft()
        self.idle = not self._requests
        self._wait_for_head(self._services.idle if self.idle else self._services.head)
        return not self.terminated

    def _asgi_scope(self, request: _Incoming) -> Message:
        target = request.target
        if not target.startswith(b"/") and target != b"*":
            target = _origin_form(target)
        path, _, query = target.partition(b"?")
        text = path.decode("latin-1")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.0" if request.http_10 else "1.1",
            "method": request.method.decode("latin-1"),
            "scheme": "https" if self._tls else "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": self._client,
            "server": self._server,
            "state": self._state,
            "extensions": {"relay_trio.on_disconnect": self._set_on_disconnect},
        }

    def _set_on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call this when the client leaves before its answer is complete; at once, if it has left already."""
        self._on_disconnect = callback
        if self._gone.is_set():
            callback()

    def answer_complete(self) -> None:
        """From here on the client's leaving concerns nobody: it may be the end of the answer that makes it leave."""
        self._on_disconnect = None

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        await self._gone.wait()

    async def read_body(self, request: _Incoming) -> None:
        """Read until the request has another piece or is complete. Raises trio.BrokenResourceError at an early end."""
        if request.wants_continue:
            request.wants_continue = False
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (request.pieces or request.complete):
            if self._refusal is not None or not await self._receive():
                raise trio.BrokenResourceError("the request's body broke off")

    # Writing

    async def write(self, data: bytes) -> None:
        """Write it all. What a cancelled write leaves is kept and goes first when writing goes on.

        Raises LimitReached when a write makes no progress for the client-write limit, OSError when the client is gone.
        """
        assert self._sock is not None
        if self._unsent:
            await self._flush()
        sent = self._sock.send_now(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            await self._flush()

    async def _flush(self) -> None:
        assert self._sock is not None
        with LimitedPhase("client_write", self._services.write) as phase:
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
                await self._flush()
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

    async def _skip_rest(self, request: _Incoming) -> bool:
        """Read past what the application did not take of the body; False when that is too much."""
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

    async def _refuse(self, refusal: _Refusal) -> None:
        self._services.refused(refusal.status, refusal.code, self._client[0] if self._client else None)
        await self.write(self._refusal_bytes(refusal))
        await self._linger()

    def _refusal_bytes(self, refusal: _Refusal) -> bytes:
        body = (
            b'{"error": {"message": "%b", "type": "invalid_request_error", "param": null, "code": "%b"}}'
            % (refusal.message.encode("ascii"), refusal.code.encode("ascii"))
        )  # fmt: skip
        return b"%bdate: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
            _STATUS_LINES[refusal.status],
            self._services.date(),
            len(body),
            body,
        )


class _Exchange:
    """The ASGI side of one request on a connection: what the application receives and sends."""

    __slots__ = ("_chunked", "_connection", "_head", "_request", "_silent", "_taken", "finished", "keep_alive")

    def __init__(self, connection: ClientConnection, request: _Incoming) -> None:
        self._connection = connection
        self._request = request
        self._head: bytes | None = None
        self._chunked = False
        self._silent = False
        self._taken = False
        self.finished = False
        self.keep_alive = request.keep_alive

    async def receive(self) -> Message:
        """ASGI receive: the body piece by piece, then the client's leaving."""
        request = self._request
        if self._taken:
            await self._connection.wait_gone()
            return {"type": "http.disconnect"}
        if not (request.pieces or request.complete):
            try:
                await self._connection.read_body(request)
            except (OSError, trio.BrokenResourceError):
                self.keep_alive = False
                return {"type": "http.disconnect"}
        pieces = request.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._taken = request.complete
        return {"type": "http.request", "body": body, "more_body": not request.complete}

    async def send(self, message: Message) -> None:
        """ASGI send. Raises LimitReached (phase client_write) and OSError."""
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        if last:
            self._connection.answer_complete()
        if self._silent:
            data = b""
        elif self._chunked:
            data = _framed(body, last=last)
        else:
            data = body
        if self._head is not None:
            data = self._head + data
            self._head = None
        if data:
            await self._connection.write(data)
        self.finished = last

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        request = self._request
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        length_known = dated = False
        for name, value in headers:
            if name == b"connection":
                self.keep_alive = False
                continue
            if name == b"content-length":
                length_known = True
            elif name == b"date":
                dated = True
            lines.append(b"%b: %b\r\n" % (name, value))
        if not dated:
            lines.append(b"date: %b\r\n" % self._connection._services.date())  # noqa: SLF001 - one unit
        self._silent = request.method == b"HEAD" or status in _BODILESS
        if not length_known and not self._silent:
            if request.http_10:
                self.keep_alive = False
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive or self._connection.terminated:
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        elif request.http_10:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)


def _framed(body: bytes, *, last: bool) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return chunk + b"0\r\n\r\n" if last else chunk


def _origin_form(target: bytes) -> bytes:
    """Bring an absolute-form target (RFC 9112, 3.2.2) to the form that all others have."""
    rest = target.partition(b"://")[2]
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"
