"""The fake client sends what it is told, byte for byte, and says how each answer ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from relay_trio.testing.fake_client import FakeClient, connect, request_bytes, split_address, take_event
from relay_trio.testing.fake_upstream import open_listener
from relay_trio.testing.http_text import BodyEnd, Malformed
from relay_trio.testing.link import EndedBy, Link, PeerGone

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\n"

Ending = Callable[[Link], object]


@asynccontextmanager
async def server_that_says(said: bytes, end: Ending = lambda _link: None) -> AsyncIterator[FakeClient]:
    """Connect a client to a server that says these bytes and ends in this way; without one it stays."""

    async def say(link: Link) -> None:
        with suppress(PeerGone):  # who refuses a head does not read the rest of it
            await link.send(said)
        end(link)

    listener = open_listener("127.0.0.1", 0)
    async with listener, trio.open_nursery() as nursery:
        async with connect(listener.socket.getsockname()[:2]) as client:
            link = Link(await listener.accept())
            nursery.start_soon(say, link)
            yield client
        nursery.cancel_scope.cancel(reason="the block has ended")
    link.close()


@pytest.mark.parametrize(
    ("said", "end", "body", "how"),
    [
        (b"content-length: 3\r\n\r\nabc", Link.close, b"abc", BodyEnd.COMPLETE),
        (b"content-length: 3\r\n\r\nab", Link.close, b"ab", BodyEnd.TRUNCATED),
        (b"content-length: 3\r\n\r\nab", Link.reset, b"ab", BodyEnd.RESET),
        (b"content-length: 0\r\n\r\n", Link.close, b"", BodyEnd.COMPLETE),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Link.close, b"abc", BodyEnd.COMPLETE),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", Link.close, b"abc", BodyEnd.TRUNCATED),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc", Link.close, b"abc", BodyEnd.TRUNCATED),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", Link.reset, b"abc", BodyEnd.RESET),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n", Link.close, b"abc", BodyEnd.MALFORMED),
        (b"transfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n", Link.close, b"", BodyEnd.MALFORMED),
        (b"transfer-encoding: chunked\r\n\r\n\r\n", Link.close, b"", BodyEnd.MALFORMED),
        (b"\r\nabc", Link.close, b"abc", BodyEnd.COMPLETE),
        (b"\r\nabc", Link.reset, b"abc", BodyEnd.RESET),
    ],
)
async def test_says_how_a_body_ended(said: bytes, end: Ending, body: bytes, how: BodyEnd) -> None:
    """Complete, truncated, reset and malformed are four things, and what came before the end is kept."""
    async with server_that_says(HEAD + said, end) as client:
        response = await client.read_response()

    assert (response.body.data, response.body.end) == (body, how)


async def test_reads_interim_heads_and_trailers() -> None:
    """1xx heads are told of apart; fields keep their order and spelling; trailers are kept."""
    said = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD
    said += b"X-A: 1\r\nx-a: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-Sum:  9\r\n\r\n"
    async with server_that_says(said) as client:
        response = await client.read_response()

    assert response.head.interim == (103,)
    assert (response.head.version, response.status, response.head.reason) == ("HTTP/1.1", 200, "OK")
    assert response.head.all("X-a") == ["1", "2"]
    assert response.head.headers[0] == (b"X-A", b"1")
    assert response.head.get("none") is None
    assert response.body.trailers == ((b"X-Sum", b"9"),)


@pytest.mark.parametrize(
    "said",
    [
        b"220 smtp ready\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        HEAD + b"no field\r\n\r\n",
        HEAD + b"spaced : 1\r\n\r\n",
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 200,
        HEAD + b"x" * 300_000,
    ],
)
async def test_refuses_what_is_no_http(said: bytes) -> None:
    """A head that is wrong is refused, and one without end is not waited for."""
    async with server_that_says(said) as client:
        with pytest.raises(Malformed):
            await client.read_head()


async def test_reads_events_as_they_come() -> None:
    """Events are read in any spelling; comments and the torn tail are kept apart; U+2028 is no line end."""
    stream = 'data: {"a": "\u2028"}\n\n: ping\n\nevent: x\r\ndata:1\r\ndata: 2\r\n\r\ndata\r\rdata: torn'.encode()
    async with server_that_says(HEAD + b"\r\n" + stream, Link.close) as client:
        await client.read_head()
        events = await client.read_events()

    assert [event.data for event in events.events] == ['{"a": "\u2028"}', "", "1\n2", ""]
    assert events.events[0].json() == {"a": "\u2028"}
    assert events.events[2].name == "x"
    assert (events.comments, events.tail, events.end) == (["ping"], b"data: torn", BodyEnd.COMPLETE)
    assert b"".join(event.raw for event in events.events) + events.tail == stream
    assert len(events.data) == 2


@pytest.mark.parametrize(
    ("end", "how"), [(Link.close, EndedBy.PEER_CLOSED), (Link.reset, EndedBy.PEER_RESET)], ids=["fin", "rst"]
)
async def test_says_how_a_connection_ended(end: Ending, how: EndedBy) -> None:
    """FIN and RST are told apart."""
    async with server_that_says(b"bytes that nobody reads", end) as client:
        assert await client.wait_closed() is how


async def test_an_end_before_the_head_is_no_answer() -> None:
    """A connection that closes in the middle of a head raises."""
    async with server_that_says(HEAD + b"content-le", Link.close) as client:
        with pytest.raises(PeerGone):
            await client.read_response()


async def test_json_needs_a_complete_body() -> None:
    """A body that was cut off is never read as JSON, even if it happens to be some."""
    async with server_that_says(HEAD + b"content-length: 9\r\n\r\n{}", Link.close) as client:
        response = await client.read_response()

    with pytest.raises(AssertionError, match="truncated"):
        response.json()


async def test_sends_byte_for_byte() -> None:
    """What is sent is what was given; half-close, slow sending and chunks do what they say."""
    listener = open_listener("127.0.0.1", 0)
    async with listener, connect(listener.socket.getsockname()[:2]) as client:
        link = Link(await listener.accept())
        start = trio.current_time()
        await client.send_slowly(b"abc", 10)
        assert trio.current_time() - start == 30
        await client.send_chunk(b"0123456789abcdef")
        await client.send_chunk(b"")
        await client.half_close()
        got = b""
        while data := await link.receive():
            got += data
        await link.send(b"still here")
        assert await client.link.receive() == b"still here"
        link.close()

    assert got == b"abc10\r\n0123456789abcdef\r\n0\r\n\r\n"


async def test_a_small_buffer_stalls_the_server() -> None:
    """A client with a small buffer that does not read makes the server's writes stall; leaving ends them."""
    listener = open_listener("127.0.0.1", 0)
    async with listener:
        async with connect(listener.socket.getsockname()[:2], receive_buffer=4096):
            link = Link(await listener.accept())
            with trio.move_on_after(100) as stalled:
                await link.send(b"x" * 16 * 1024 * 1024)
            assert stalled.cancelled_caught
        with pytest.raises(PeerGone):
            await link.send(b"x" * 16 * 1024 * 1024)
        link.close()


def test_request_bytes_are_plain() -> None:
    """Host and content-length are added unless they are given."""
    assert request_bytes("GET", "/a?b", "h:1") == b"GET /a?b HTTP/1.1\r\nhost: h:1\r\n\r\n"
    assert (
        request_bytes("POST", "/", "h", [("Host", "x"), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n")
        == b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert request_bytes("POST", "/", "h", body=b"ab") == b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nab"


def test_addresses() -> None:
    """A URL or a pair; anything else is refused."""
    assert split_address("https://[::1]:8443/v1") == ("::1", 8443)
    assert split_address(("127.0.0.1", 80)) == ("127.0.0.1", 80)
    with pytest.raises(ValueError, match="no address"):
        split_address("http://127.0.0.1")


def test_an_event_is_taken_only_whole() -> None:
    """Cut anywhere, the same events come out."""
    whole = b"data: 1\r\n\r\n: c\n\ndata: 2\n\n"
    for at in range(len(whole)):
        buffer, taken = bytearray(), []
        for part in (whole[:at], whole[at:]):
            buffer += part
            while (event := take_event(buffer)) is not None:
                taken.append(event.raw)
        assert (b"".join(taken), bytes(buffer)) == (whole, b"")
