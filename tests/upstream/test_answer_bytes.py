"""Promises of the upstream connection's reading: an answer is the same however it is cut, and a part of one is none.

The socket is a script of reads, because only the reading is tried here; the real one has tests of its own.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay_trio.errors import UpstreamFailed
from relay_trio.scopes.phase import Limit
from relay_trio.sockets import HubSocket
from relay_trio.upstream.connection import UpstreamConnection

pytestmark = pytest.mark.anyio

MANY = settings(max_examples=300, deadline=None, derandomize=True)
SEND = Limit(60, "RELAY_SEND_TIMEOUT")


class ScriptedSocket:
    """Gives the pieces one by one, then the end. Takes everything that is sent."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = deque(piece for piece in pieces if piece)
        self.hung_up = self.truncated = False
        self.on_readable: Callable[[], None] | None = None
        self.fd = 1

    @property
    def readable(self) -> bool:
        return bool(self.pieces)

    def send_now(self, data: bytes) -> int:
        return len(data)

    async def receive_some(self) -> bytes:
        return self.pieces.popleft() if self.pieces else b""


def connection_over(pieces: list[bytes]) -> UpstreamConnection:
    """Return a connection whose socket gives these pieces."""
    return UpstreamConnection(cast("HubSocket", ScriptedSocket(pieces)))


@attrs.frozen
class Written:
    """An answer as a provider means it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    framing: str
    interim: tuple[int, ...] = ()

    @property
    def bodiless(self) -> bool:
        """There is no body by its status."""
        return self.status in {204, 304}

    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return all header fields."""
        framing: dict[str, tuple[tuple[bytes, bytes], ...]] = {
            "length": ((b"Content-Length", b"%d" % len(self.body)),),
            "chunked": ((b"Transfer-Encoding", b"chunked"),),
            "close": (),
        }
        return (*self.headers, *(() if self.bodiless else framing[self.framing]))

    def wire(self) -> bytes:
        """Return it as it goes over the wire."""
        interim = b"".join(b"HTTP/1.1 %d Wait\r\nx-early: 1\r\n\r\n" % status for status in self.interim)
        head = b"".join(b"%b: %b\r\n" % field for field in self.fields())
        return interim + b"HTTP/1.1 %d Fine\r\n%b\r\n" % (self.status, head) + self._body()

    def _body(self) -> bytes:
        if self.bodiless:
            return b""
        if self.framing != "chunked":
            return self.body
        pieces = [self.body[at : at + 7] for at in range(0, len(self.body), 7)]
        chunks = b"".join(b"%X;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return chunks + b"0\r\nx-trailer: dropped\r\n\r\n"


async def read_answer(connection: UpstreamConnection, *, bodiless: bool = False) -> bytes:
    """Send a request and read its answer to the proven end."""
    connection.start(bodiless_answer=bodiless)
    assert await connection.send(b"GET / HTTP/1.1\r\n\r\n", SEND)
    await connection.read_head()
    body = b""
    while piece := await connection.receive():
        body += piece
    return body


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """Return the data in pieces, cut at these places (0 to 1)."""
    ends = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


PLACES = st.lists(st.floats(0, 1), max_size=12)
NAME = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
FIELD = st.tuples(NAME.map(lambda text: b"x-" + text.encode()), VALUE.map(lambda text: text.encode("latin-1")))
WRITTEN = st.builds(
    Written,
    status=st.sampled_from([200, 201, 204, 301, 304, 400, 429, 503, 529, 599]),
    headers=st.lists(FIELD, max_size=4).map(tuple),
    body=st.binary(max_size=200),
    framing=st.sampled_from(["length", "chunked"]),
    interim=st.lists(st.sampled_from([100, 102, 103]), max_size=2).map(tuple),
)


@MANY
@given(st.lists(WRITTEN, min_size=1, max_size=3), PLACES)
async def test_answers_are_the_same_however_they_are_cut(written: list[Written], places: list[float]) -> None:
    """One after the other on the same connection, each cut into the same reads as its bytes fall."""
    connection = connection_over([])
    for one in written:
        cast("ScriptedSocket", connection.sock).pieces.extend(piece for piece in cut(one.wire(), places) if piece)
        body = await read_answer(connection)
        assert connection.status == one.status
        assert connection.headers == [(name.lower(), value) for name, value in one.fields()]
        assert body == (b"" if one.bodiless else one.body)
        assert connection.reusable


@MANY
@given(WRITTEN, PLACES)
async def test_an_answer_that_the_connections_end_ends_is_read_to_it(written: Written, places: list[float]) -> None:
    """Without a length the end is proven by FIN, and no other answer can follow."""
    written = attrs.evolve(written, framing="close", status=200)
    connection = connection_over(cut(written.wire(), places))
    assert await read_answer(connection) == written.body
    assert not connection.reusable


@MANY
@given(WRITTEN, st.floats(0, 1, exclude_max=True), PLACES)
async def test_a_part_of_an_answer_is_no_answer(written: Written, part: float, places: list[float]) -> None:
    """Whatever its last byte was: where the framing promises more, the end of the connection is a failure (G5)."""
    data = written.wire()
    connection = connection_over(cut(data[: int(part * len(data))], places))
    with pytest.raises(UpstreamFailed):
        await read_answer(connection)
    assert not connection.reusable


@MANY
@given(st.lists(st.binary(max_size=200), max_size=6))
@example([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok"])
@example([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"])
@example([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"\x00\x00"])
@example([b"HTTP/1.1 204 No\r\n\r\nbody"])
async def test_no_bytes_break_the_reading(pieces: list[bytes]) -> None:
    """They are an answer, or a failure of the provider's; never a crash."""
    connection = connection_over(pieces)
    try:
        await read_answer(connection)
    except UpstreamFailed:
        assert not connection.reusable


@MANY
@given(WRITTEN, st.integers(0, 2000), st.integers(0, 255), PLACES)
async def test_a_spoilt_byte_breaks_nothing(written: Written, place: int, byte: int, places: list[float]) -> None:
    """Nearly right is where parsers crash; and a connection on which more came than the answer is not used again."""
    data = bytearray(written.wire())
    data[place % len(data)] = byte
    connection = connection_over(cut(bytes(data), places))
    try:
        await read_answer(connection)
    except UpstreamFailed:
        assert not connection.reusable
    else:
        left_over = bool(cast("ScriptedSocket", connection.sock).pieces)
        assert not (connection.reusable and left_over and connection.went_quiet())


@MANY
@given(WRITTEN, st.binary(min_size=1, max_size=20).filter(lambda data: data.strip(b"\r\n")))
async def test_what_follows_an_answer_unasked_ends_the_connection(written: Written, surplus: bytes) -> None:
    """In the same read as its last byte: the next answer would begin with it. Empty lines would not (RFC 9112, 2.2)."""
    connection = connection_over([written.wire() + surplus])
    with suppress(UpstreamFailed):
        await read_answer(connection)
    assert not connection.reusable


@MANY
@given(WRITTEN, PLACES)
async def test_an_answer_to_head_has_no_body(written: Written, places: list[float]) -> None:
    """Whatever its head says of one."""
    head = written.wire()[: -len(written._body()) or None]
    connection = connection_over(cut(head, places))
    assert await read_answer(connection, bodiless=True) == b""
    assert connection.status == written.status
