"""The client's side of one request: its body comes in here, its answer goes out here, and so does every error.

Two points of no return are the state of an exchange. *Head sent*: status and headers are final, later failures travel in
band. *Content sent*: the first event with meaning has left, no other attempt may follow.

Opening events of a stream are held until the first event with meaning, then head and events leave in one write; so a
failed attempt can be followed by another one that the client never hears of. A stream that has been silent for long
sends its head early, with what is held or with a keep-alive.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import attrs
import trio

from adaptors.protocol import Dialect
from adaptors.values import Header
from relay_trio.errors import BodyTooLarge, Ended, RelayError
from relay_trio.relay.admission import Reservation
from relay_trio.relay.record import Record
from relay_trio.relay.report import tell
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope

MAX_HELD_BYTES = 64 * 1024
"""Opening events are small; what is more is content, whatever it says it is."""

_BODY_BYTES_PER_SECOND = 128 * 1024
"""Each so many bytes earn the client's body one more second: a slow line is no attack, a dripping one is."""

_STREAM_HEADERS: list[Header] = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ClientSide(Protocol):
    """The server's side of one request (`edge.http_exchange`): where its body comes from and its answer goes."""

    @property
    def on_disconnect(self) -> Callable[[Callable[[], None]], None]:
        """Takes what is called, synchronously, when the client leaves before its answer is complete."""
        ...

    @property
    def limit_writes(self) -> Callable[[Limit | None], None]:
        """Lets this clock hold for the writes to the client; None: the relay's own."""
        ...

    def body_is_here(self) -> bool:
        """Say whether `receive` would return at once: then no clock needs to run."""
        ...

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece of the body, and whether there is more.

        Raises BadRequest; OSError and trio.BrokenResourceError when the client broke off.
        """
        ...

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """Say status and headers; they leave with the first piece of the body."""
        ...

    @property
    def all_sent(self) -> bool:
        """The kernel has taken all that was to be sent: another piece may be tried at once."""
        ...

    async def send(self, data: bytes, *, more: bool) -> None:
        """Write the next piece of the answer; without `more` it is the last. Raises LimitReached, OSError."""
        ...

    def send_now(self, data: bytes) -> None:
        """Write what goes out at once of the next piece and keep the rest, which `flush` sends. Only if `all_sent`."""
        ...

    async def flush(self) -> None:
        """Write what was kept. Raises LimitReached, OSError."""
        ...


@attrs.frozen(eq=False)
class ClientRequest:
    """A request as it came in, before its body. `query` is still as the client wrote it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[Header]
    fields: Mapping[bytes, bytes]
    """The headers by name; of those that came more than once, the first."""
    client: str | None
    side: ClientSide


class Exchange:
    """One request and its answer, seen from the client. Owned by the request's task; `keepalive` by one helper."""

    __slots__ = (
        "_answer_sequence", "_body", "_body_left_s", "_clean", "_extra_headers", "_held", "_held_size", "_keepalive_done",
        "_sending", "_stream_headers", "content_sent", "dialect", "finished", "head_sent", "keepalive_after",
        "keepalive_interval", "last_sent", "on_content", "record", "request", "scope", "streaming",
    )  # fmt: skip

    def __init__(
        self,
        request: ClientRequest,
        record: Record,
        dialect: Dialect,
        *,
        extra_headers: list[Header],
        clean: Callable[[str], str],
        body: Limit,
    ) -> None:
        self.request = request
        self.scope: RequestScope = record.scope
        self.dialect = dialect
        self.record = record
        self.streaming = False
        """The client asked for a stream of events, so it can be kept awake and told of errors in band."""
        self.head_sent = False
        self.content_sent = False
        """What is an answer has begun to leave: from here on no other attempt may follow."""
        self.on_content: Callable[[], None] | None = None
        """Is called once, at that moment."""
        self.finished = False
        self._stream_headers: list[Header] = []
        self.last_sent = self.scope.started
        """When the client of a stream was last told anything."""
        self.keepalive_after = self.keepalive_interval = float("inf")
        """Seconds of silence before the first keep-alive, and between two."""
        self._extra_headers = extra_headers
        self._clean = clean
        self._body = body
        self._body_left_s = body.seconds
        self._held: list[bytes] = []
        self._held_size = 0
        self._sending = False
        self._keepalive_done: trio.Event | None = None
        self._answer_sequence: Callable[[], int] | None = None

    # The body comes in

    async def read_whole(self, max_bytes: int, reservation: Reservation) -> bytes:
        """Return the whole body. Its size is bounded, and so is the time that the client may take.

        Raises BodyTooLarge (413), BodyTooSlow (408), Overloaded (503: no room for it in memory); OSError when the
        client broke off.
        """
        announced = self.announced_length()
        if announced is not None:
            if announced > max_bytes:
                raise _too_large(max_bytes)
            await reservation.grow(announced, self.scope.clock)
        pieces: list[bytes] = []
        size = 0
        while True:
            piece, more = await self._next_piece()
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if size > reservation.held:
                await reservation.grow(size - reservation.held, self.scope.clock)
            pieces.append(piece)
            if not more:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def uploader(self, max_bytes: int) -> Callable[[], Awaitable[bytes]]:
        """Return what gives a streamed body piece by piece; b"" is its end. Raises as `read_whole` does."""
        size = 0
        ended = False

        async def next_piece() -> bytes:
            nonlocal size, ended
            while not ended:
                piece, more = await self._next_piece()
                ended = not more
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if piece:
                    return piece
            return b""

        return next_piece

    def announced_length(self) -> int | None:
        """Return the Content-Length; the parser has seen to it that it is a number."""
        length = self.request.fields.get(b"content-length")
        return None if length is None else int(length)

    async def _next_piece(self) -> tuple[bytes, bool]:
        side = self.request.side
        piece, more = await (side.receive() if side.body_is_here() else self._wait_for_piece())
        self.scope.bytes_in += len(piece)
        return piece, more

    async def _wait_for_piece(self) -> tuple[bytes, bool]:
        """Wait for the client under the body's clock; what it sends earns it more time."""
        clock = self.scope.clock
        before = clock.current
        started = trio.current_time()
        with clock.limited("body", self._body) as phase:
            phase.shorten(self._body_left_s)
            piece, more = await self.request.side.receive()
        self._body_left_s += len(piece) / _BODY_BYTES_PER_SECOND - (trio.current_time() - started)
        clock.enter(before)
        return piece, more

    # A whole answer goes out

    async def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole answer in one write."""
        self._take_head(status)
        self.finished = True
        self._start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._send_body(body, more=False)

    def start_body(self, status: int, headers: list[Header]) -> None:
        """Send the head of a body that is passed on piece by piece; it leaves with the first piece."""
        self._take_head(status)
        self._note_content()
        self._start(status, headers)

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of such a body."""
        await self._send_body(data, more=True)

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece, and the end that says the answer is complete."""
        if not self.head_sent:
            self._start_stream()
        self.finished = True
        await self._send_body(data, more=False)

    # A stream of events goes out

    def follow(self, sequence: Callable[[], int]) -> None:
        """A new answer is being read: an error event of this stream would carry its next sequence number."""
        self._answer_sequence = sequence

    def hold(self, data: bytes) -> bool:
        """Keep opening events back; False, and not kept, when they are too many to be only that."""
        if self._held_size + len(data) > MAX_HELD_BYTES:
            return False
        self._held.append(data)
        self._held_size += len(data)
        return True

    def drop_held(self) -> None:
        """The attempt that opened like this has failed: another one opens anew."""
        self._held.clear()
        self._held_size = 0

    async def send_events(self, data: bytes) -> None:
        """Send events with meaning: with them leave the head and what was held."""
        if self._keepalive_done is not None:
            await self._keepalive_done.wait()
        await self._send_body(self._opened(data), more=True)

    def send_events_now(self, data: bytes) -> bool:
        """As `send_events`, but without a wait: False, and nothing was sent, where one would be needed first.

        What the client does not take at once is kept for `flush`. Raises OSError.
        """
        side = self.request.side
        if self._keepalive_done is not None or self._sending or not side.all_sent:
            return False
        data = self._opened(data)
        side.send_now(data)
        self._note_sent(data)
        return True

    @property
    def all_sent(self) -> bool:
        """The client has taken what was sent, as far as the kernel goes."""
        return self.request.side.all_sent

    async def flush(self) -> None:
        """Wait until the client has taken what was sent, as far as the kernel goes. Raises LimitReached, OSError."""
        if self._keepalive_done is not None:
            await self._keepalive_done.wait()
        self._sending = True
        try:
            await self.request.side.flush()
        finally:
            self._sending = False

    async def finish_events(self, data: bytes) -> None:
        """Send the last events and the end of the stream in one write."""
        if self._keepalive_done is not None:
            await self._keepalive_done.wait()
        data = self._opened(data)
        self.finished = True
        await self._send_body(data, more=False)

    def _opened(self, data: bytes) -> bytes:
        """Return what is to be sent: the held events first. Head and held events are past their point of no return."""
        if self._held:
            data = b"".join(self._held) + data
            self._held.clear()
        if not self.content_sent:
            self._note_content()
        if not self.head_sent:
            self._start_stream()
        return data

    def _note_content(self) -> None:
        self.content_sent = True
        told, self.on_content = self.on_content, None
        if told is not None:
            told()

    def _start_stream(self) -> None:
        self._take_head(200)
        ours = [(b"content-type", self.dialect.stream_content_type), *_STREAM_HEADERS]  # what proxies between must know
        names = {name for name, _ in ours}
        self._start(200, [field for field in self._stream_headers if field[0] not in names] + ours)

    def set_stream_headers(self, headers: list[Header]) -> None:
        """Let the stream's head carry the provider's headers."""
        self._stream_headers = headers

    # Keep-alive

    def keepalive_due(self) -> float:
        """Return when this stream will have been silent for too long; infinite when nothing is to be sent."""
        if self._is_awake():
            return float("inf")
        return self.last_sent + (self.keepalive_interval if self.record.keepalives else self.keepalive_after)

    async def keepalive(self) -> None:
        """Keep the connection awake: what is held, or a keep-alive. Runs as a helper of the request.

        Raises LimitReached when the client takes no more.
        """
        if self._is_awake():
            return
        self._keepalive_done = trio.Event()
        self.last_sent = self.scope.clock.now()
        self.record.keepalives += 1
        try:
            if not self.head_sent:
                self._start_stream()
            if self._held:
                data = b"".join(self._held)
                self._held.clear()
                self._note_content()
            else:
                data = self.dialect.keepalive(content_seen=self.content_sent)
            await self._send_body(data, more=True)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self.scope.cancel(Ended.CLIENT_DISCONNECTED)
        finally:
            self._keepalive_done.set()
            self._keepalive_done = None

    def _is_awake(self) -> bool:
        """The answer is complete, or something is being written at this moment."""
        return self.finished or self._sending or self._keepalive_done is not None

    # Every error goes out here

    async def fail(self, error: RelayError) -> None:
        """Tell the client of an error as well as it can still be told. The one error door.

        Before the head: an error answer. In a stream of events: the dialect's error event, then the end of the
        connection, without the end of the stream. In any other body: only the end of the connection. Raises OSError
        when the client is gone.
        """
        if self.finished:
            return
        told = tell(error, self.scope.id, self._clean, self.dialect.error_format)
        if self._keepalive_done is not None:
            await self._keepalive_done.wait()
        if not self.head_sent:
            body = self.dialect.error_body(told.report)
            content_type = (b"content-type", self.dialect.error_content_type)
            await self.answer(told.report.status, [content_type, *told.headers], body)
        elif self.streaming:
            sequence = self._answer_sequence() if self._answer_sequence is not None else 0
            held = b"".join(self._held)
            self._held.clear()
            self.finished = True  # a keep-alive that was due at this very moment does not follow it
            await self._send_body(held + self.dialect.error_event(told.report, sequence), more=True)
        else:
            await self._send_body(b"", more=True)

    # The way to the server

    def _take_head(self, status: int) -> None:
        assert not self.head_sent, "a head is sent once"
        self.head_sent = True
        self.record.status = status

    def _start(self, status: int, headers: list[Header]) -> None:
        self.request.side.start(status, headers + self._extra_headers)

    async def _send_body(self, data: bytes, *, more: bool) -> None:
        self._sending = True
        try:
            await self.request.side.send(data, more=more)
        finally:
            self._sending = False
        self._note_sent(data)

    def _note_sent(self, data: bytes) -> None:
        if self.streaming:
            self.last_sent = self.scope.clock.now()
        self.scope.bytes_out += len(data)
        self.record.chunks_out += 1


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is over the limit of {max_bytes} bytes.")
