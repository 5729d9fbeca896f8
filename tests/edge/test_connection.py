"""Promises of the client connection: what bytes mean does not depend on how they come, and no bytes break it.

The cases are many and small, so most of them are put to the parser alone; some go to a whole relay over a real socket.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stand import STREAM, UNARY, Stand, open_stand

from relay_trio.edge.incoming import MAX_HEAD_BYTES, MAX_HEAD_FIELDS, Incoming, RequestParser, origin_form
from relay_trio.testing.fake_client import connect
from relay_trio.testing.http_text import Malformed
from relay_trio.testing.link import PeerGone
from relay_trio.testing.oracle import Snapshot

MANY = settings(max_examples=300, deadline=None, derandomize=True)
SOME = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

LIVEZ = b"GET /livez HTTP/1.1\r\nhost: relay.test\r\n\r\n"


# ---- What is a request


@attrs.frozen
class Written:
    """A request as a client means it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None
    chunks: tuple[int, ...] | None
    """The sizes of the chunks in which the body is sent; None: with a length."""
    http_10: bool = False

    def framing(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the fields that frame the body."""
        if self.body is None:
            return ()
        if self.chunks is None:
            return ((b"content-length", b"%d" % len(self.body)),)
        return ((b"transfer-encoding", b"chunked"),)

    def wire(self) -> bytes:
        """Return it as it goes over the wire."""
        version = b"HTTP/1.0" if self.http_10 else b"HTTP/1.1"
        fields = b"".join(b"%b: %b\r\n" % field for field in (*self.headers, *self.framing()))
        return b"%b %b %b\r\n%b\r\n%b" % (self.method, self.target, version, fields, self._body_bytes())

    def _body_bytes(self) -> bytes:
        if self.body is None or self.chunks is None:
            return self.body or b""
        rest, framed = self.body, b""
        for size in (*self.chunks, len(self.body)):
            piece, rest = rest[:size], rest[size:]
            if piece:
                framed += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
        return framed + b"0\r\ntrailer: dropped\r\n\r\n"

    def read_as(self) -> tuple[object, ...]:
        """Return what is to be read of it."""
        headers = [(name.lower(), value) for name, value in (*self.headers, *self.framing())]
        return self.method, self.target, headers, self.body or b"", self.http_10, True


def read(request: Incoming) -> tuple[object, ...]:
    """Return what was read of a request, in the same shape."""
    body = request.take_pieces()
    return request.method, request.target, request.headers, body, request.http_10, request.complete


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789!", min_size=1, max_size=12).map(
    lambda text: b"x-" + text.encode()
)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.encode("latin-1")
)
OFFER = ((b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"))
FIELDS = st.tuples(st.lists(st.tuples(TOKEN, VALUE), max_size=5), st.booleans()).map(
    lambda drawn: (*drawn[0], *(OFFER if drawn[1] else ()))
)
BODY = st.none() | st.binary(max_size=300)
CHUNKS = st.none() | st.lists(st.integers(1, 50), max_size=5).map(tuple)
WRITTEN = st.builds(
    Written,
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD"]),
    target=st.sampled_from([b"/", b"/v1/chat/completions", b"/v1/models?key=1&x=%20", b"/%F0%9F%98%80", b"*"]),
    headers=FIELDS,
    body=BODY,
    chunks=CHUNKS,
)


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """Return the data in pieces, cut at these places (0 to 1)."""
    ends = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


PLACES = st.lists(st.floats(0, 1), max_size=12)


@MANY
@given(st.lists(WRITTEN, min_size=1, max_size=4), PLACES)
def test_requests_are_the_same_however_they_are_cut(written: list[Written], places: list[float]) -> None:
    """Pipelined, chunked, with an offer of another protocol in the head: each cut gives the same requests."""
    parser = RequestParser()
    for piece in cut(b"".join(one.wire() for one in written), places):
        parser.feed(piece)
    assert parser.refusal is None
    assert [read(request) for request in parser.requests] == [one.read_as() for one in written]
    assert not parser.in_head


@given(st.lists(WRITTEN, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_requests_are_the_same_byte_by_byte(written: list[Written]) -> None:
    """The finest cut of all."""
    parser = RequestParser()
    for byte in b"".join(one.wire() for one in written):
        parser.feed(bytes([byte]))
    assert [read(request) for request in parser.requests] == [one.read_as() for one in written]


@MANY
@given(st.lists(st.binary(max_size=200), max_size=6))
@example([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
@example([b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n"])
@example([b"GET / HTTP/2.0\r\n\r\n"])
@example([b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
def test_no_bytes_break_the_parser(pieces: list[bytes]) -> None:
    """Whatever comes is a request, a part of one, or refused; what was refused stays so."""
    parser = RequestParser()
    refused = None
    for piece in pieces:
        parser.feed(piece)
        assert refused is None or parser.refusal is not None
        refused = parser.refusal
    if refused is not None:
        assert refused.status in {400, 431, 505}
    assert sum(len(b"".join(request.pieces)) for request in parser.requests) <= sum(map(len, pieces))


@MANY
@given(WRITTEN, st.integers(0, 2000), st.integers(0, 255), PLACES)
def test_a_spoilt_byte_breaks_nothing(written: Written, place: int, byte: int, places: list[float]) -> None:
    """Nearly right is where parsers crash."""
    data = bytearray(written.wire())
    data[place % len(data)] = byte
    parser = RequestParser()
    for piece in cut(bytes(data), places):
        parser.feed(piece)


@pytest.mark.parametrize("step", [1, 7, 65536])
def test_a_head_without_end_is_refused_before_it_fills_the_memory(step: int) -> None:
    """However it comes: one field, many fields, a target."""
    for head in (
        b"GET / HTTP/1.1\r\nx: " + b"x" * MAX_HEAD_BYTES * 2,
        b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * MAX_HEAD_BYTES,
        b"GET /" + b"x" * MAX_HEAD_BYTES * 2,
        b"GET / HTTP/1.1\r\n" + b"x" * MAX_HEAD_BYTES * 2,
    ):
        parser = RequestParser()
        for at in range(0, len(head), step):
            parser.feed(head[at : at + step])
            if parser.refusal is not None:
                assert at <= MAX_HEAD_BYTES + step
                break
        assert parser.refusal is not None
        assert parser.refusal.status == 431


def test_the_fields_are_counted() -> None:
    """So many, and no more."""
    for count, refused in ((MAX_HEAD_FIELDS, False), (MAX_HEAD_FIELDS + 1, True)):
        parser = RequestParser()
        parser.feed(b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * count + b"\r\n")
        assert (parser.refusal is not None) is refused


def test_trailers_are_no_headers() -> None:
    """A client must not add `authorization` behind its body."""
    parser = RequestParser()
    parser.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nauthorization: Bearer x\r\n\r\n")
    assert [name for name, _ in parser.requests[0].headers] == [b"transfer-encoding"]


@pytest.mark.parametrize("framing", [b"transfer-encoding: x", b"transfer-encoding: chunked, x"])
def test_bad_framing_behind_an_offer_is_refused(framing: bytes) -> None:
    """The parser that passes over such a body does not look at its framing: the one that takes over does."""
    parser = RequestParser()
    parser.feed(b"POST / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n%b\r\n\r\nhello" % framing)
    assert parser.refusal is not None
    assert not parser.requests[0].complete


def test_many_offers_of_another_protocol_in_one_read_are_many_requests() -> None:
    """Each takes a parser of its own; there is no depth to run out of."""
    head = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    parser = RequestParser()
    parser.feed(head * 1200)
    assert len(parser.requests) == 1200
    assert parser.refusal is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b", b"/a?b"),
        (b"*", b"*"),
        (b"http://x/a?b", b"/a?b"),
        (b"https://x:1", b"/"),
        (b"x:443", b"/"),
        (b"", b"/"),
    ],
)
def test_a_target_has_one_form(target: bytes, path: bytes) -> None:
    """That of a path, whatever form it came in (RFC 9112, section 3.2)."""
    assert origin_form(target) == path


# ---- The same through the whole relay


@pytest.fixture
async def stand(tmp_path: Path, nothing_left_open: Snapshot) -> AsyncIterator[Stand]:  # noqa: ARG001 - it comes first
    """A relay for all examples of a test."""
    async with open_stand(tmp_path) as opened:
        yield opened


@pytest.mark.anyio
@SOME
@given(requests=st.lists(st.sampled_from([UNARY, STREAM, LIVEZ]), min_size=1, max_size=4), places=PLACES)
async def test_answers_are_the_same_however_requests_are_cut(
    stand: Stand, requests: list[bytes], places: list[float]
) -> None:
    """Each piece in a packet of its own, all requests on one connection: each gets its answer, in order."""
    async with connect(stand.address) as client:
        for piece in cut(b"".join(requests), places):
            if piece:
                await client.send(piece)
                await trio.sleep(0.01)
        for request in requests:
            response = await client.read_response()
            assert response.status == 200
            assert response.body.complete
            assert response.body.data.endswith(b"data: [DONE]\n\n") is (request is STREAM)
    await stand.rest()


@pytest.mark.anyio
@SOME
@given(pieces=st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([UNARY, UNARY[:60], LIVEZ]), max_size=4))
@example(pieces=[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
@example(pieces=[UNARY, b"\r\n\r\n", LIVEZ])
async def test_whatever_comes_is_answered_or_ended(stand: Stand, pieces: list[bytes]) -> None:
    """Within the clocks of heads and idle connections the connection ends, and nothing is held for it."""
    async with connect(stand.address) as client:
        try:
            for piece in pieces:
                await client.send(piece)
                await trio.sleep(0.01)
            with trio.fail_after(200):
                while (await client.read_response()).status:
                    pass
        except (PeerGone, Malformed):
            pass
        with trio.fail_after(200):
            await client.wait_closed()
    await stand.rest()
