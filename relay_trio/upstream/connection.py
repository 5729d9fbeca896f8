"""One HTTP/1.1 connection to a provider (RFC 9112), told in the order in which things happen on it.

A connection serves one request at a time: `start`, `send_request`, `read_head`, `receive` until the end. It may serve
another only if the answer was read to its end, nothing followed it, and both sides want to go on (`reusable`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httptools
import trio

from relay_trio.errors import AnswerBroken, UpstreamFailed
from relay_trio.scopes.phase import Limit, LimitedPhase
from relay_trio.sockets import HubSocket

_MAX_HEAD_BYTES = 64 * 1024
"""The largest answer head of the providers we know is under 8 KiB; nginx takes 8 KiB, node 16, curl 300."""
_MAX_HEAD_FIELDS = 256
_FIRST_FINAL_STATUS = 200
_BODILESS = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

_IN_THE_MIDDLE = "in the middle of its answer"

Take = Callable[[bytes], bool]
"""Deals with a piece of a body, without waiting. False: it has, but the next one cannot come before something was waited for."""


class UpstreamConnection:
    """One connection and the answer that is being read from it. Owned by one task."""

    __slots__ = (
        "_bodiless", "_head_bytes", "_parser", "_parts", "_surplus", "_until_close", "answered", "ended", "fields", "headers",
        "http_10", "idle_limit_s", "idle_until", "reused", "sent", "sock", "status", "wants_keepalive",
    )  # fmt: skip

    def __init__(self, sock: HubSocket) -> None:
        self.sock = sock
        self.reused = False
        self.idle_until = 0.0
        self.idle_limit_s: float | None = None
        """For the pool, of whoever used the connection last; None: the pool's own."""
        self._parser: Any = None
        self._surplus = False

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.sock!r} {'reused' if self.reused else 'new'}>"

    # Starting a request

    def start(self, *, bodiless_answer: bool) -> None:
        """Make ready for a request and its answer. An answer to HEAD has no body, whatever its headers say."""
        if self._parser is None:  # it goes on from answer to answer, as the connection does
            self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._bodiless = bodiless_answer
        self._until_close = True
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        """The headers by name, once they are all here; of those that came more than once, the first."""
        self.http_10 = False
        self.wants_keepalive = False
        self.answered = False
        """A byte of the answer has come: from here on the request is not repeated."""
        self.ended = False
        self.sent = False
        """All of the request that was to be sent has been sent."""

    async def send(self, data: bytes, limit: Limit) -> bool:
        """Write it all; return False if the provider answered before it took everything.

        Raises UpstreamFailed, or LimitReached when a write makes no progress for the limit.
        """
        self.sent = False
        try:
            sent = self.sock.send_now(data)
            self.sent = sent == len(data) or await self._send_rest(memoryview(data)[sent:], limit)
        except OSError as error:
            if not (self.sock.readable or self.sock.hung_up):
                raise _broke("send", "while the request was sent") from error
        except trio.ClosedResourceError as error:
            raise _broke("send", "while the request was sent") from error
        return self.sent  # where it broke it may have answered before (RFC 9112, 9.5)

    async def _send_rest(self, rest: memoryview, limit: Limit) -> bool:
        with LimitedPhase("send", limit) as phase:
            while rest:
                await self.sock.wait_writable_or_readable()
                if not self.sock.writable and self.answer_has_begun():
                    return False
                sent = self.sock.send_now(rest)
                if sent:
                    phase.progress()
                    rest = rest[sent:]
        return True

    async def unless_answered(self, next_piece: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Return the next piece of a body that is streamed up; None if the provider answers before it is there."""
        while not self.answer_has_begun():
            with trio.CancelScope() as waiting:
                self.sock.on_readable = partial(waiting.cancel, reason="the provider says something")
                try:
                    return await next_piece()
                finally:
                    self.sock.on_readable = None
        self.sent = False
        return None

    def answer_has_begun(self) -> bool:
        """Look, while the request is being sent, whether its final answer has begun or the connection has ended."""
        if not self.status and self.sock.readable:
            try:
                data = self.sock.receive_now()
            except OSError:
                return True  # the next read tells
            if data == b"":
                return True
            if data is not None:
                self._feed(data, "headers")
        return bool(self.status)

    # Receiving the answer

    async def read_head(self) -> None:
        """Return when status and headers of the final answer are here; interim answers (1xx) are passed over.

        Raises UpstreamFailed or AnswerBroken.
        """
        while not self.status:
            await self._read_once("headers", "before it sent an answer")

    async def receive(self) -> bytes:
        """Return the next piece of the body, everything that one read gave; b"" at its proven end.

        Raises UpstreamFailed when the connection broke before the end that the framing promised.
        """
        while not self._parts:
            if self.ended:
                return b""
            await self._read_once("answer", _IN_THE_MIDDLE)
        return self._taken_parts()

    async def pass_to(self, take: Take) -> bool:
        """Give `take` each piece of the body as it comes, in the hub's own turn, until it wants no more or the end is proven.

        True: that is the end. False: `take` has said that something must be waited for; it has taken what it was given.
        Raises UpstreamFailed as `receive` does, and whatever `take` raises.
        """
        while True:
            if self._parts and not take(self._taken_parts()):
                return False
            if self.ended:
                return True
            if self.sock.readable:
                await self._read_once("answer", _IN_THE_MIDDLE)
            elif not await self._wait_passing(take):
                return False

    async def _wait_passing(self, take: Take) -> bool:
        """Wait until the connection's task must see to what has come; False if that is because `take` wants no more."""
        passing = _Passing(self, take)
        self.sock.on_readable = passing.on_readable
        try:
            await self.sock.wait_readable()
        except trio.ClosedResourceError as error:
            raise _broke("answer", _IN_THE_MIDDLE) from error
        finally:
            self.sock.on_readable = None
        passing.raise_failure()
        return not passing.stopped

    def take_now(self, take: Take) -> bool:
        """Read once and give `take` what that brought; False if it wants no more. Raises as `pass_to` does."""
        try:
            data = self.sock.receive_now()
        except OSError as error:
            raise _broke("answer", _IN_THE_MIDDLE) from error
        if data is None:
            return True
        if not data:
            self.sock.readable = True  # the end: it is read again, by the task
            return True
        self._feed(data, "answer")
        return not self._parts or take(self._taken_parts())

    def _taken_parts(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return data

    async def _read_once(self, phase: str, when: str) -> None:
        try:
            data = await self.sock.receive_some()
        except OSError as error:
            raise _broke(phase, when) from error
        except trio.ClosedResourceError as error:
            raise _broke(phase, when) from error
        if data:
            self._feed(data, phase)
        elif self.status >= _FIRST_FINAL_STATUS and self._until_close and not self.sock.truncated:
            self.ended = True  # RFC 9112, 6.3: no length given, the connection's end is the body's
        else:
            raise _broke(phase, when)

    def _feed(self, data: bytes, phase: str) -> None:
        if not self.status:
            self._head_bytes += len(data)
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise AnswerBroken("The provider switched protocols, which nobody asked for.", phase=phase) from error
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, AnswerBroken):
                raise error.__context__ from None
            if self.ended:
                self._surplus = True
                return
            raise AnswerBroken("The provider's answer is not valid HTTP.", phase=phase) from error
        if not self.status and (self._head_bytes > _MAX_HEAD_BYTES or len(self.headers) > _MAX_HEAD_FIELDS):
            raise AnswerBroken("The provider's answer has too large a head.", phase=phase)

    # What the parser tells (llhttp's callbacks, by httptools)

    def on_message_begin(self) -> None:
        """A second answer without a second request is surplus."""
        if self.ended:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are dropped, as nobody may rely on them (RFC 9110, 6.5.1)."""
        if not (self.status or self.ended):
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is here: an interim one is forgotten, a final one stands."""
        if self.ended:
            return
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            self.headers = []
            return
        if len(self.headers) > _MAX_HEAD_FIELDS:
            raise AnswerBroken("The provider's answer has too many header fields.", phase="headers")
        self.status = status
        self.fields = fields = dict(reversed(self.headers))
        self._until_close = _FRAMING.isdisjoint(fields)
        self.http_10 = self._parser.get_http_version() == "1.0"
        self.wants_keepalive = self._parser.should_keep_alive()
        if self._bodiless or status in _BODILESS:
            self.ended = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body; one read of the socket bounds how much."""
        if not self.ended:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """The framing says that the body is complete."""
        if self.status >= _FIRST_FINAL_STATUS:
            self.ended = True

    # Once the connection is no longer required

    @property
    def reusable(self) -> bool:
        """The answer was read to its end and both sides want to go on."""
        return (
            self.ended
            and self.sent
            and self.wants_keepalive
            and not self._until_close_ended
            and not self._bodiless
            and not self._surplus
            and not self._parts
            and not self.sock.hung_up
        )

    @property
    def _until_close_ended(self) -> bool:
        return self._until_close and self.status not in _BODILESS

    def went_quiet(self) -> bool:
        """Nothing has arrived since the answer: neither an end nor bytes that nobody asked for."""
        sock = self.sock
        if sock.hung_up or sock.fd < 0:
            return False
        return not sock.readable or sock.holds_nothing()

    def close(self) -> None:
        """Close at once, without a checkpoint."""
        self.sock.close()
        self._parser = None  # it holds our methods: they would hold each other until the collector comes


class _Passing:
    """What the hub calls while an answer's task is parked: pieces go through here without waking it."""

    __slots__ = ("_connection", "_failure", "_take", "stopped")

    def __init__(self, connection: UpstreamConnection, take: Take) -> None:
        self._connection = connection
        self._take = take
        self.stopped = False
        self._failure: Exception | None = None

    def on_readable(self) -> bool:
        """Pass on what has come. True: the task may sleep on. Whatever fails is the task's to raise, never the hub's."""
        connection = self._connection
        try:
            self.stopped = not connection.take_now(self._take)
        except Exception as error:  # noqa: BLE001 - raised again in the task that waits
            self._failure = error
        if self.stopped or self._failure is not None or connection.ended or connection.sock.readable:
            connection.sock.on_readable = None  # the task wakes, and sees to what comes from here on
            return False
        return True

    def raise_failure(self) -> None:
        """Raise what failed in the hub's turn, if anything did."""
        try:
            if self._failure is not None:
                raise self._failure
        finally:
            self._failure = None  # its traceback holds this frame, and the frame holds us


def _broke(phase: str, when: str) -> UpstreamFailed:
    return UpstreamFailed(
        f"The connection to the provider broke {when}.", code="upstream_connection_broke", phase=phase
    )
