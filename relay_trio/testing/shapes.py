"""Clients that misbehave, by name: they leave, stall, dawdle, or break the rules of HTTP.

The law: each is one async function that opens one connection, does what its first line says, and is gone when it returns.
Those that wait for the server's answer return a `Reaction`.
"""

from __future__ import annotations

import enum
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import attrs
import trio

from relay_trio.testing.fake_client import FakeClient, Response, connect, request_bytes
from relay_trio.testing.http_text import Malformed
from relay_trio.testing.link import EndedBy, PeerGone

Address = str | tuple[str, int]

Moment = Callable[[], Awaitable[object]]
"""What a client waits for before it leaves: `lambda: upstream.wait_requests(1)`."""

SMALL_BUFFER = 4096

BLOCK = 64 * 1024


class Leave(enum.Enum):
    """How a client leaves."""

    CLOSE = "FIN, and nothing is read any more"
    RESET = "RST"
    HALF_CLOSE = "FIN, but what comes is still read"


@attrs.frozen
class Reaction:
    """What a server did with a client: its answer, if a whole head came, and who ended the connection, if it ended."""

    response: Response | None
    ended_by: EndedBy | None
    after_s: float
    """Seconds on trio's clock from the connect to the end of the answer."""

    @property
    def status(self) -> int | None:
        """The status of the answer."""
        return None if self.response is None else self.response.status


def chat(
    *, key: str = "sk-test", model: str = "fake-small", stream: bool = True, path: str = "/v1/chat/completions"
) -> bytes:
    """Return the bytes of a plain chat request."""
    value = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Say something."}]}
    return post(path, json.dumps(value).encode(), key=key)


def post(path: str, body: bytes, *, key: str = "sk-test", extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the bytes of a POST with this JSON body."""
    headers = [("authorization", f"Bearer {key}"), ("content-type", "application/json"), *extra]
    return request_bytes("POST", path, "relay.test", headers, body)


# ---- Those that leave


async def leaves_before_head(
    address: Address, request: bytes, when: Moment, how: Leave = Leave.CLOSE, *, tls: ssl.SSLContext | None = None
) -> None:
    """Sends a whole request and leaves at a moment before the answer's head."""
    async with connect(address, tls=tls) as client:
        await client.send(request)
        await when()
        await leave(client, how)


async def leaves_mid_stream(
    address: Address,
    request: bytes,
    after_events: int = 1,
    how: Leave = Leave.CLOSE,
    *,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Sends a request, reads some events of the answer, and leaves."""
    async with connect(address, tls=tls) as client:
        await client.send(request)
        await client.read_head()
        for _ in range(after_events):
            assert await client.read_event() is not None, "the stream ended before its reader wanted to"
        await leave(client, how)


async def leaves_during_upload(
    address: Address,
    request: bytes,
    when: Moment,
    how: Leave = Leave.CLOSE,
    *,
    missing: int = 1,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Sends a request but for its last bytes and leaves at a moment."""
    async with connect(address, tls=tls) as client:
        await client.send(request[:-missing])
        await when()
        await leave(client, how)


async def leave(client: FakeClient, how: Leave) -> None:
    """Leave in one of the ways; after HALF_CLOSE wait for the server to end the connection too."""
    match how:
        case Leave.CLOSE:
            client.close()
        case Leave.RESET:
            client.reset()
        case Leave.HALF_CLOSE:
            await client.half_close()
            await client.wait_closed()


# ---- Those that stall


@asynccontextmanager
async def never_reads(
    address: Address, request: bytes, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeClient]:
    """Sends a request and, for the length of the block, reads nothing of the answer; its buffer is small."""
    async with connect(address, tls=tls, receive_buffer=SMALL_BUFFER) as client:
        await client.send(request)
        yield client


async def says_nothing(address: Address, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Connects and never sends a byte."""
    return await _react(address, b"", tls)


async def sends_half_a_request(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends half of a request and waits."""
    return await _react(address, request[: len(request) // 2], tls)


async def sends_half_a_head(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends half of a request's head and waits."""
    return await _react(address, request[: request.index(b"\r\n\r\n") // 2], tls)


async def sends_a_byte_a_second(
    address: Address, request: bytes, interval_s: float = 1.0, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a request a byte a second, head and body."""
    return await _react_to(address, lambda client: client.send_slowly(request, interval_s), tls)


async def sends_body_a_byte_a_second(
    address: Address, request: bytes, interval_s: float = 1.0, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends the head of a request at once and its body a byte a second."""
    head, mark, body = request.partition(b"\r\n\r\n")

    async def send(client: FakeClient) -> None:
        await client.send(head + mark)
        await client.send_slowly(body, interval_s)

    return await _react_to(address, send, tls)


# ---- Those that break the rules


async def sends_huge_header(
    address: Address, request: bytes, size: int = 1024 * 1024, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a request with one header field of 1 MiB."""
    return await _react(address, with_fields(request, b"x-huge: %b\r\n" % (b"x" * size)), tls)


async def sends_many_headers(
    address: Address, request: bytes, count: int = 5000, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a request with five thousand header fields."""
    fields = b"".join(b"x-field-%d: 1\r\n" % number for number in range(count))
    return await _react(address, with_fields(request, fields), tls)


async def sends_huge_body(
    address: Address, path: str, size: int, *, key: str = "sk-test", tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a JSON body of this size, in blocks, for as long as the server takes it."""

    async def send(client: FakeClient) -> None:
        await client.send(with_fields(post(path, b"", key=key), b"", content_length=size))
        for at in range(0, size, BLOCK):
            await client.send(b" " * min(BLOCK, size - at))

    return await _react_to(address, send, tls)


async def sends_both_lengths(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends a request with both a content-length and chunks, as request smugglers do."""
    head, mark, body = with_fields(request, b"transfer-encoding: chunked\r\n").partition(b"\r\n\r\n")
    return await _react(address, b"%b%b%x\r\n%b\r\n0\r\n\r\n" % (head, mark, len(body), body), tls)


async def sends_bad_chunk(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends a chunked body whose second chunk's size is no number."""
    head, body = chunked_head(request)
    return await _react(address, b"%b%x\r\n%b\r\nzz\r\n\r\n" % (head, len(body), body), tls)


async def sends_endless_chunks(
    address: Address, request: bytes, limit: int, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a chunked body that does not end before `limit` bytes."""
    head, _ = chunked_head(request)

    async def send(client: FakeClient) -> None:
        await client.send(head)
        for _ in range(0, limit, BLOCK):
            await client.send_chunk(b" " * BLOCK)

    return await _react_to(address, send, tls)


async def sends_garbage(address: Address, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends bytes that are no HTTP."""
    return await _react(address, bytes(range(256)) * 8 + b"\r\n\r\n", tls)


async def sends_http2_preface(address: Address, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Speaks HTTP/2 with prior knowledge (RFC 9113 section 3.4)."""
    return await _react(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", tls)


# ---- Those that are odd but right


async def pipelines(
    address: Address, requests: Iterable[bytes], *, tls: ssl.SSLContext | None = None
) -> list[Response]:
    """Sends several requests in one write and reads their answers in order."""
    asked = list(requests)
    async with connect(address, tls=tls) as client:
        await client.send(b"".join(asked))
        return [await client.read_response() for _ in asked]


async def speaks_http10(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends a request as HTTP/1.0."""
    return await _react(address, request.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1), tls)


async def sends_byte_by_byte(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends a request with a write for each byte, without a pause."""
    return await _react_to(address, lambda client: client.send_slowly(request, 0), tls)


async def sends_chunked(
    address: Address, request: bytes, size: int = 7, *, tls: ssl.SSLContext | None = None
) -> Reaction:
    """Sends a request's body in small chunks."""
    head, body = chunked_head(request)

    async def send(client: FakeClient) -> None:
        await client.send(head)
        for at in range(0, len(body), size):
            await client.send_chunk(body[at : at + size])
        await client.send_chunk(b"")

    return await _react_to(address, send, tls)


async def expects_continue(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends the head with `Expect: 100-continue` and the body only when it is told to go on."""
    head, mark, body = with_fields(request, b"expect: 100-continue\r\n").partition(b"\r\n\r\n")

    async def send(client: FakeClient) -> None:
        await client.send(head + mark)

    async def read(client: FakeClient) -> Response:
        first = await client.take_head()
        if first.status != 100:  # an answer that needs no body, as a 401 is
            return Response(first, await client.body_of(first))
        await client.send(body)
        return await client.read_response()

    return await _react_to(address, send, tls, read)


async def half_closes(address: Address, request: bytes, *, tls: ssl.SSLContext | None = None) -> Reaction:
    """Sends a request and FIN behind it, and reads the answer if one comes."""

    async def send(client: FakeClient) -> None:
        await client.send(request)
        await client.half_close()

    return await _react_to(address, send, tls)


# ---- What they share


async def _react(address: Address, request: bytes, tls: ssl.SSLContext | None) -> Reaction:
    return await _react_to(address, lambda client: client.send(request), tls)


async def _react_to(
    address: Address,
    send: Callable[[FakeClient], Awaitable[None]],
    tls: ssl.SSLContext | None,
    read: Callable[[FakeClient], Awaitable[Response]] = FakeClient.read_response,
) -> Reaction:
    """Send and read at the same time: a server may answer, and go, before it has read everything."""
    async with connect(address, tls=tls) as client, trio.open_nursery() as nursery:
        start = trio.current_time()
        nursery.start_soon(_send_what_is_taken, client, send)
        reaction = await _reaction(client, read, start)
        nursery.cancel_scope.cancel(reason="the server has reacted")
    return reaction


async def _send_what_is_taken(client: FakeClient, send: Callable[[FakeClient], Awaitable[None]]) -> None:
    try:
        await send(client)
    except PeerGone:
        return  # the reaction says so


async def _reaction(client: FakeClient, read: Callable[[FakeClient], Awaitable[Response]], start: float) -> Reaction:
    try:
        response = await read(client)
    except (PeerGone, Malformed):
        response = None
    return Reaction(response, client.link.ended_by, trio.current_time() - start)


def with_fields(request: bytes, fields: bytes, *, content_length: int | None = None) -> bytes:
    """Return the request with these header lines added, and another content-length if one is given."""
    line, mark, rest = request.partition(b"\r\n")
    if content_length is not None:
        rest = rest.replace(b"content-length: 0", b"content-length: %d" % content_length)
    return line + mark + fields + rest


def chunked_head(request: bytes) -> tuple[bytes, bytes]:
    """Return the head of the request with chunked framing in place of its length, and its body."""
    head, mark, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"transfer-encoding: chunked"]) + mark, body
