"""From bytes to requests (RFC 9112): what a client connection is told by its parser, and what it refuses.

llhttp, by httptools, has no pause: one read may hold several requests. They are queued here, in order, and nothing more is
read until the first has been answered, so the queue is bounded by one read.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import httptools

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 100
_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_VERSIONS = frozenset({"1.0", "1.1"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Incoming:
    """One request as it comes in. `pieces` holds what has been read of its body and nobody has taken yet."""

    __slots__ = (
        "complete", "fields", "head_complete", "headers", "http_10", "keep_alive", "method", "pieces", "target", "wants_continue",
    )  # fmt: skip

    def __init__(self) -> None:
        self.target = self.method = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        """The headers by name, once they are all here; of those that came more than once, the first."""
        self.http_10 = self.keep_alive = self.head_complete = self.complete = self.wants_continue = False
        self.pieces: list[bytes] = []

    def take_pieces(self) -> bytes:
        """Return what is here of the body, and forget it."""
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body


@attrs.frozen
class Refusal:
    """Input that never becomes a request, and what is said about it."""

    status: int
    code: str
    message: str


_BAD_HTTP = Refusal(400, "bad_http", "The request is not valid HTTP/1.1.")
_HTTP2 = Refusal(505, "http2_not_supported", "HTTP/2 is not offered here; use HTTP/1.1.")
_HEAD_TOO_LARGE = Refusal(
    431,
    "request_head_too_large",
    f"The request head is over {MAX_HEAD_BYTES // 1024} KiB or {MAX_HEAD_FIELDS} fields.",
)


class RequestParser:
    """The parser of one connection. `requests` are those that have begun, the first of them being served or next."""

    def __init__(self) -> None:
        self.requests: deque[Incoming] = deque()
        self.refusal: Refusal | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._current = Incoming()
        self._unfinished_bytes = 0
        self._may_be_large = False
        """So much has come that a head in it can be over the limit: only then are its fields counted."""
        self._taking_over = False

    @property
    def in_head(self) -> bool:
        """Some of a head has come, and not all of it."""
        return self._unfinished_bytes > 0

    @property
    def head_is_here(self) -> bool:
        """The head of the next request has come."""
        return bool(self.requests) and self.requests[0].head_complete

    def feed(self, data: bytes) -> None:
        """Take what one read gave. Sets `refusal` at what cannot be taken; what came before it stands."""
        while data:
            data = self._feed(data)

    def close(self) -> None:
        """Nothing is fed any more. The parser in C holds our methods: else they wait for the collector together."""
        self._parser = None

    def _feed(self, data: bytes) -> bytes:
        """Feed the parser; return what it left: what stands behind a head that offers another protocol."""
        if not self._current.head_complete or self._current.complete:
            if not self._unfinished_bytes and data.startswith(_HTTP2_PREFACE):
                self.refusal = _HTTP2
                return b""
            self._unfinished_bytes += len(data)
        self._may_be_large = max(self._unfinished_bytes, len(data)) > MAX_HEAD_BYTES
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            return self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse_bad_http()
        else:
            if self._may_be_large and self._unfinished_bytes > MAX_HEAD_BYTES and not self._current.head_complete:
                self.refusal = _HEAD_TOO_LARGE
        return b""

    def _decline(self, rest: bytes) -> bytes:
        """Go on with HTTP/1.1, as is our right (RFC 9110, 7.8). Return what is still to be fed.

        llhttp passes over the body behind such a head and takes nothing more; so another parser takes over, and is told
        the framing of that body by a head of ours.
        """
        request = self._current
        if request.method == b"CONNECT":
            request.keep_alive = False
            return b""  # what follows is not HTTP
        self._parser = httptools.HttpRequestParser(self)
        framing = b"".join(b"%b: %b\r\n" % field for field in request.headers if field[0] in _FRAMING)
        if framing:
            request.complete = False
            request.wants_continue = _wants_continue(request.headers)
            self._taking_over = True
            try:
                self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
            except httptools.HttpParserError:
                self._refuse_bad_http()
                return b""
            self._taking_over = False
        return rest

    def _refuse_bad_http(self) -> None:
        self.refusal = self.refusal or _BAD_HTTP
        self._current.keep_alive = False

    # What llhttp tells

    def on_message_begin(self) -> None:
        """A new request begins, maybe behind one that is still being served (pipelining)."""
        if self._taking_over:
            return
        self._current = Incoming()
        self.requests.append(self._current)

    def on_url(self, part: bytes) -> None:
        """Take a part of the request target."""
        if self._taking_over:
            return
        self._current.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are dropped, as nobody may rely on them (RFC 9110, 6.5.1)."""
        request = self._current
        if not request.head_complete:
            request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is here."""
        if self._taking_over:
            return
        request = self._current
        headers = request.headers
        if len(headers) > MAX_HEAD_FIELDS or (self._may_be_large and _size(request) > MAX_HEAD_BYTES):
            self.refusal = _HEAD_TOO_LARGE
            raise ValueError("head too large")  # the parser stops here
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            self.refusal = _HTTP2 if version == "2.0" else _BAD_HTTP
            raise ValueError("not HTTP/1")  # the parser stops here
        request.method = self._parser.get_method()
        request.http_10 = version == "1.0"
        request.keep_alive = self._parser.should_keep_alive()
        request.fields = dict(reversed(headers))
        request.wants_continue = b"expect" in request.fields and _wants_continue(headers)
        request.head_complete = True
        self._unfinished_bytes = 0

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body until the application takes it; one read bounds how much."""
        self._current.pieces.append(data)

    def on_message_complete(self) -> None:
        """The framing says that the request is complete."""
        self._current.complete = True
        self._current.wants_continue = False


def _wants_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def _size(request: Incoming) -> int:
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def origin_form(target: bytes) -> bytes:
    """Bring an absolute-form target (RFC 9112, 3.2.2) to the form that all others have."""
    if target.startswith(b"/") or target == b"*":
        return target
    rest = target.partition(b"://")[2]
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"
