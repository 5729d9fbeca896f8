"""A raw HTTP/1.1 client on a real socket: it sends exactly the bytes it is told to, and says exactly what came back.

The law: nothing is repaired and nothing retried. How an answer ended is part of the answer: complete, truncated, reset.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from relay_trio.testing.http_text import (
    MAX_BODY_BYTES,
    Body,
    BodyEnd,
    BodyReader,
    Framing,
    Head,
    Headers,
    Malformed,
    read_body,
    read_head,
)
from relay_trio.testing.link import EndedBy, Link, PeerGone

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Above the relay's own limit for an event, so that a test can see the relay keep it."""

MAX_INTERIM_HEADS = 100

INTERIM = frozenset(range(100, 200)) - {101}
"""101 is an answer: the connection speaks something else from there on (RFC 9110 section 15.2.2)."""


@attrs.frozen
class Response:
    """One answer: the last head, the interim heads (1xx) before it, and the body."""

    head: ResponseHead
    body: Body

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    def json(self) -> Any:
        """Return the body as JSON. Raises AssertionError unless the body is complete."""
        assert self.body.complete, f"the body is {self.body.end.value}: {self.body.data[-200:]!r}"
        return json.loads(self.body.data)


@attrs.frozen
class ResponseHead:
    """The head of an answer."""

    version: str
    status: int
    reason: str
    head: Head
    interim: tuple[int, ...] = ()
    """The status codes of the 1xx heads that came before."""

    def get(self, name: str) -> str | None:
        """Return the first value of this header field, or None."""
        return self.head.get(name)

    def all(self, name: str) -> list[str]:
        """Return all values of this header field."""
        return self.head.all(name)

    @property
    def headers(self) -> Headers:
        """The header fields as they came."""
        return self.head.headers


@attrs.frozen
class ServerSentEvent:
    """One event as it came: its name, its data, its comments; `raw` holds the bytes with the blank line."""

    name: str
    data: str
    comments: tuple[str, ...]
    raw: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Return the data as JSON."""
        return json.loads(self.data)


@attrs.frozen
class EventStream:
    """A whole event stream and how its body ended; `tail` is what came after the last whole event."""

    events: tuple[ServerSentEvent, ...]
    end: BodyEnd
    tail: bytes = b""

    @property
    def data(self) -> list[str]:
        """The data of every event that has any."""
        return [event.data for event in self.events if event.data]

    @property
    def comments(self) -> list[str]:
        """All comments in their order."""
        return [comment for event in self.events for comment in event.comments]


@attrs.define(eq=False)
class FakeClient:
    """One connection. Methods are to be called by one task; `link` has the raw socket and says who ended it."""

    link: Link
    authority: str
    methods_asked: list[str] = attrs.field(factory=list)
    """What was asked through `request` and not yet answered: an answer to HEAD has no body."""
    reader: BodyReader | None = None
    torn: bytearray = attrs.field(factory=bytearray, repr=False)
    """The beginning of an event whose end has not come yet."""

    # ---- Sending

    async def send(self, data: bytes) -> None:
        """Send these bytes. Raises PeerGone."""
        await self.link.send(data)

    async def send_slowly(self, data: bytes, interval_s: float, step: int = 1) -> None:
        """Send `step` bytes, wait, and so on. Raises PeerGone once the server has left."""
        for at in range(0, len(data), step):
            await self.link.send(data[at : at + step])
            await trio.sleep(interval_s)

    async def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> None:
        """Send a request with a content-length."""
        self.methods_asked.append(method)
        await self.send(request_bytes(method, path, self.authority, headers, body))

    async def post_json(self, path: str, value: object, key: str | None = None) -> None:
        """Send a JSON body, with this key as Bearer."""
        headers = [("content-type", "application/json")]
        if key is not None:
            headers.append(("authorization", f"Bearer {key}"))
        await self.request("POST", path, headers, json.dumps(value).encode())

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; b"" is the last."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    # ---- Reading

    async def read_head(self) -> ResponseHead:
        """Return the next final head. Raises PeerGone, Malformed."""
        interim: list[int] = []
        while (head := await self.take_head()).status in INTERIM:
            interim.append(head.status)
            if len(interim) > MAX_INTERIM_HEADS:
                raise Malformed("interim heads without end")
        self.reader = self._body_reader(head)
        return attrs.evolve(head, interim=tuple(interim))

    async def body_of(self, head: ResponseHead) -> Body:
        """Return the body behind a head that `take_head` gave."""
        self.reader = self._body_reader(head)
        return await self.read_body()

    async def take_head(self) -> ResponseHead:
        """Return the next head, interim or final."""
        return parse_response_head(await read_head(self.link))

    def _body_reader(self, head: ResponseHead) -> BodyReader:
        method = self.methods_asked.pop(0) if self.methods_asked else ""
        if method == "HEAD" or head.status in {101, 204, 304}:
            return BodyReader(self.link, Framing.NONE)
        return BodyReader.for_head(self.link, head.head, otherwise=Framing.CLOSE)

    async def read_piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end; then `body_end` says how it ended."""
        assert self.reader is not None, "no head was read"
        return await self.reader.next_piece()

    @property
    def body_end(self) -> BodyEnd | None:
        """How the body ended; None while it has not."""
        return None if self.reader is None else self.reader.end

    async def read_body(self, limit: int = MAX_BODY_BYTES) -> Body:
        """Return the body that follows the head."""
        assert self.reader is not None, "no head was read"
        return await read_body(self.reader, limit)

    async def read_response(self) -> Response:
        """Return the next answer, whole. Raises PeerGone or Malformed if no whole head came."""
        head = await self.read_head()
        return Response(head, await self.read_body())

    async def read_event(self) -> ServerSentEvent | None:
        """Return the next whole event of the body, or None at its end."""
        while (event := take_event(self.torn)) is None:
            piece = await self.read_piece()
            if not piece:
                return None
            self.torn += piece
            if len(self.torn) > MAX_EVENT_BYTES:
                raise Malformed("an event without end")
        return event

    async def read_events(self) -> EventStream:
        """Return all events up to the end of the body, and how it ended."""
        events = []
        while (event := await self.read_event()) is not None:
            events.append(event)
        assert self.body_end is not None
        return EventStream(tuple(events), self.body_end, bytes(self.torn))

    async def wait_closed(self) -> EndedBy:
        """Throw away what still comes until the server ends the connection; return how it did."""
        await self.link.wait_peer_gone()
        assert self.link.ended_by is not None
        return self.link.ended_by

    # ---- Leaving

    async def half_close(self) -> None:
        """Send FIN and go on reading."""
        await self.link.half_close()

    def reset(self) -> None:
        """Leave with RST."""
        self.link.reset()

    def close(self) -> None:
        """Leave with FIN."""
        self.link.close()


@asynccontextmanager
async def connect(
    address: str | tuple[str, int],
    *,
    tls: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[FakeClient]:
    """Connect to `http(s)://host:port` or (host, port); at the end of the block the socket is closed.

    `receive_buffer` (bytes, SO_RCVBUF) small and no reading makes a client on which the server's writes soon stall.
    """
    host, port = split_address(address)
    link = await dial(host, port, receive_buffer=receive_buffer)
    try:
        if tls is not None:
            await link.start_tls_as_client(tls, host)
        yield FakeClient(link, f"{host}:{port}")
    finally:
        link.close()


def split_address(address: str | tuple[str, int]) -> tuple[str, int]:
    """Return host and port of a URL or a pair."""
    if isinstance(address, tuple):
        return address
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"no address: {address}")
    return parts.hostname, parts.port


async def dial(host: str, port: int, *, receive_buffer: int | None = None) -> Link:
    """Connect a TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        if receive_buffer is not None:  # before connect: the window is agreed on there
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect((host, port))
        return Link(trio.SocketStream(sock))
    except BaseException:
        sock.close()
        raise


# ---- Bytes


def request_bytes(
    method: str, path: str, authority: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
) -> bytes:
    """Return the bytes of a request; host and content-length are added unless they are among the headers."""
    fields = list(headers)
    given = {name.lower() for name, _ in fields}
    if "host" not in given:
        fields.insert(0, ("host", authority))
    if body is not None and not given & {"content-length", "transfer-encoding"}:
        fields.append(("content-length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


def parse_response_head(head: Head) -> ResponseHead:
    """Read the status line. Raises Malformed."""
    version, _, rest = head.start_line.decode("latin-1").partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(status) != 3 or not status.isdecimal():
        raise Malformed(f"no status line: {head.start_line[:80]!r}")
    return ResponseHead(version, int(status), reason, head)


def take_event(buffer: bytearray) -> ServerSentEvent | None:
    """Take the first whole event out of the buffer; None if there is none yet."""
    ends = [(at + len(mark)) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := buffer.find(mark)) >= 0]
    if not ends:
        return None
    raw = bytes(buffer[: min(ends)])
    del buffer[: min(ends)]
    return parse_event(raw)


def parse_event(raw: bytes) -> ServerSentEvent:
    """Read the fields of one event block (WHATWG HTML, 9.2.6)."""
    fields: dict[str, list[str]] = {"event": [], "data": [], "": []}
    for line in raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        if line:
            fields.setdefault(name, []).append(value.removeprefix(" "))
    return ServerSentEvent("".join(fields["event"][-1:]), "\n".join(fields["data"]), tuple(fields[""]), raw)


__all__ = ["Body", "BodyEnd", "EndedBy", "FakeClient", "Malformed", "PeerGone", "Response", "connect"]
