"""One request and its response on a client connection: the body as it comes in, the answer as HTTP/1.1 bytes.

The head waits for the first piece of the body, so both leave in one write. A response is framed by its content-length,
else in chunks, else (HTTP/1.0) by the connection's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Protocol

import trio

from adaptors.values import Header
from relay_trio.edge.incoming import Incoming
from relay_trio.scopes.phase import Limit

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus
}
_NO_CONTENT = 204
_BODILESS = frozenset({_NO_CONTENT, 304})
_WATCHED = frozenset({b"connection", b"content-length", b"date"})


class Connection(Protocol):
    """What an exchange needs of its connection."""

    @property
    def leaving(self) -> bool:
        """The server is shutting down, or another one accepts in its place: this answer is the connection's last."""
        ...

    def date(self) -> bytes:
        """Return the value of the Date header."""
        ...

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call this when the client leaves before its answer is complete; at once, if it has left already."""
        ...

    def answer_complete(self) -> None:
        """From here on the client's leaving concerns nobody."""
        ...

    def limit_writes(self, limit: Limit | None) -> None:
        """Let this clock hold for the writes of this request; None: the relay's own."""
        ...

    async def read_body(self, request: Incoming) -> None:
        """Read until the request has another piece or is complete. Raises OSError, trio.BrokenResourceError."""
        ...

    @property
    def all_sent(self) -> bool:
        """The kernel has taken all that was written."""
        ...

    async def write(self, data: bytes) -> None:
        """Write it all. Raises LimitReached, OSError."""
        ...

    def write_now(self, data: bytes) -> None:
        """Write what the kernel takes now and keep the rest. Raises OSError."""
        ...

    async def flush(self) -> None:
        """Write what was kept. Raises LimitReached, OSError."""
        ...


class HTTPExchange:
    """One request and its response: the relay's `ClientSide`."""

    __slots__ = (
        "_chunked", "_connection", "_head", "_request", "_silent", "finished", "keep_alive", "limit_writes", "on_disconnect",
    )  # fmt: skip

    def __init__(self, connection: Connection, request: Incoming) -> None:
        self._connection = connection
        self._request = request
        self._head = b""
        self._chunked = False
        self._silent = False
        self.finished = False
        """The whole response has been written."""
        self.keep_alive = request.keep_alive
        self.on_disconnect = connection.on_disconnect
        self.limit_writes = connection.limit_writes

    def body_is_here(self) -> bool:
        """Say whether `receive` would return at once."""
        return self._request.complete or bool(self._request.pieces)

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece of the body, and whether there is more. Not to be called after the last.

        Raises BadRequest, OSError and trio.BrokenResourceError where the body breaks off.
        """
        request = self._request
        if not (request.complete or request.pieces):
            try:
                await self._connection.read_body(request)
            except (OSError, trio.BrokenResourceError):
                self.keep_alive = False
                raise
        return request.take_pieces(), not request.complete

    async def send(self, data: bytes, *, more: bool) -> None:
        """Write the next piece of the body, the head before it; without `more` it is the last.

        Raises LimitReached (phase client_write) and OSError.
        """
        if not more:
            self._connection.answer_complete()
        data = self._framed(data, last=not more)
        if data:
            await self._connection.write(data)
        self.finished = not more

    @property
    def all_sent(self) -> bool:
        """The kernel has taken all that was to be sent."""
        return self._connection.all_sent

    def send_now(self, data: bytes) -> None:
        """Write what goes out at once of a piece that is not the last, and keep the rest. Only if `all_sent`."""
        data = self._framed(data, last=False)
        if data:
            self._connection.write_now(data)

    async def flush(self) -> None:
        """Write what was kept. Raises LimitReached (phase client_write) and OSError."""
        await self._connection.flush()

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        """Return the bytes of the next piece: what of the head has not left, and the piece in its frame."""
        head, self._head = self._head, b""
        if self._silent:
            return head
        if not self._chunked:
            return head + body
        if last:
            return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body) if body else head + b"0\r\n\r\n"
        return b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """Say status and headers; they leave with the first piece of the body."""
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        length_known = dated = False
        for name, value in headers:
            if name in _WATCHED:
                if name == b"connection":
                    self.keep_alive = False
                    continue
                if name == b"date":
                    dated = True
                else:
                    length_known = True
                    if status == _NO_CONTENT:
                        continue  # RFC 9110, 8.6
            lines += (name, b": ", value, b"\r\n")
        if not dated:
            lines += (b"date: ", self._connection.date(), b"\r\n")
        self._silent = self._request.method == b"HEAD" or status in _BODILESS
        if not length_known and not self._silent:
            self._frame_by_chunks_or_end(lines)
        self._say_whether_it_stays(lines)
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _frame_by_chunks_or_end(self, lines: list[bytes]) -> None:
        if self._request.http_10:
            self.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")

    def _say_whether_it_stays(self, lines: list[bytes]) -> None:
        if not self.keep_alive or self._connection.leaving or self._request.wants_continue:
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        elif self._request.http_10:
            lines.append(b"connection: keep-alive\r\n")
