"""The ASGI side of one request on a client connection: what the application receives and sends, as HTTP/1.1 bytes.

The head waits for the first piece of the body, so both leave in one write. A response is framed by its content-length,
else in chunks, else (HTTP/1.0) by the connection's end.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Protocol

import trio

from relay_trio.edge.incoming import Incoming

Message = dict[str, Any]

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

    def answer_complete(self) -> None:
        """From here on the client's leaving concerns nobody."""
        ...

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        ...

    async def read_body(self, request: Incoming) -> None:
        """Read until the request has another piece or is complete. Raises OSError, trio.BrokenResourceError."""
        ...

    async def write(self, data: bytes) -> None:
        """Write it all. Raises LimitReached, OSError."""
        ...


class ASGIExchange:
    """One request and its response."""

    __slots__ = ("_chunked", "_connection", "_head", "_request", "_silent", "_taken", "finished", "keep_alive")

    def __init__(self, connection: Connection, request: Incoming) -> None:
        self._connection = connection
        self._request = request
        self._head: bytes | None = None
        self._chunked = False
        self._silent = False
        self._taken = False
        self.finished = False
        """The whole response has been written."""
        self.keep_alive = request.keep_alive

    def body_is_here(self) -> bool:
        """Say whether `receive` would return at once."""
        return bool(self._request.pieces) or (self._request.complete and not self._taken)

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
        self._taken = request.complete
        return {"type": "http.request", "body": request.take_pieces(), "more_body": not request.complete}

    async def send(self, message: Message) -> None:
        """ASGI send. Raises LimitReached (phase client_write) and OSError."""
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        last = not message.get("more_body", False)
        if last:
            self._connection.answer_complete()
        data = self._framed(message.get("body", b""), last=last)
        if self._head is not None:
            data = self._head + data
            self._head = None
        if data:
            await self._connection.write(data)
        self.finished = last

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        if self._silent:
            return b""
        if not self._chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk + b"0\r\n\r\n" if last else chunk

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
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
