"""Compressed answers: inflated as they come, to a proven end, and never to more than an honest text could be."""

from __future__ import annotations

import gzip
import zlib
from collections import deque

import pytest

from adaptors.values import Header
from relay_trio.errors import AnswerBroken
from relay_trio.upstream.decoding import DecodedResponse

pytestmark = pytest.mark.anyio

TEXT = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n' * 50


class Pieces:
    """A response whose body comes in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = deque(pieces)
        self.status = 200
        self.headers: list[Header] = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
        self.fields = dict(self.headers)
        self.reused = False
        self.closed = 0

    @property
    def ended(self) -> bool:
        return not self._pieces

    async def receive(self) -> bytes:
        return self._pieces.popleft() if self._pieces else b""

    async def aclose(self) -> None:
        self.closed += 1


async def inflated(encoding: bytes, *pieces: bytes) -> list[bytes]:
    """Return the pieces in which a body inflates."""
    response = DecodedResponse(Pieces(*pieces), encoding)
    found = []
    while piece := await response.receive():
        found.append(piece)
    assert response.ended
    return found


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


RAW_DEFLATE = zlib.compress(TEXT)[2:-4]


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [(b"gzip", gzip.compress(TEXT)), (b"X-GZIP ", gzip.compress(TEXT)), (b"deflate", zlib.compress(TEXT))],
)
async def test_what_was_packed_comes_out(encoding: bytes, packed: bytes, size: int) -> None:
    """However it is cut."""
    assert b"".join(await inflated(encoding, *cut(packed, size))) == TEXT


async def test_a_stream_is_not_held_up() -> None:
    """What the provider has flushed is there at once."""
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in (b"one\n\n", b"two\n\n")]

    assert await inflated(b"gzip", *pieces, packer.flush()) == [b"one\n\n", b"two\n\n"]


async def test_several_members_are_one_body() -> None:
    """As RFC 1952, 2.2 has it; the second member may begin in the middle of a read."""
    packed = gzip.compress(TEXT) + gzip.compress(b"and more")

    for size in (1, 13, 100_000):
        assert b"".join(await inflated(b"gzip", *cut(packed, size))) == TEXT + b"and more"


@pytest.mark.parametrize(
    ("encoding", "pieces"),
    [
        (b"gzip", [gzip.compress(TEXT)[:-1]]),
        (b"gzip", [gzip.compress(TEXT)[:-9]]),
        (b"gzip", [gzip.compress(TEXT), gzip.compress(TEXT)[:-1]]),
        (b"gzip", []),
        (b"deflate", [zlib.compress(TEXT)[:-1]]),
    ],
)
async def test_an_end_must_be_proven_by_the_format_too(encoding: bytes, pieces: list[bytes]) -> None:
    """The framing may be in order while the packed body is not."""
    with pytest.raises(AnswerBroken, match="broke off"):
        await inflated(encoding, *pieces)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", TEXT),
        (b"gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        (b"gzip", gzip.compress(TEXT) + b"garbage behind it"),
        (b"deflate", gzip.compress(TEXT)),
        (b"deflate", RAW_DEFLATE),
    ],
)
async def test_what_is_damaged_is_refused(encoding: bytes, body: bytes) -> None:
    """No byte of it is guessed."""
    with pytest.raises(AnswerBroken, match="damaged"):
        await inflated(encoding, body)


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"x-secret", b"gzip, gzip"])
def test_an_unknown_encoding_is_refused_before_anything_is_read(encoding: bytes) -> None:
    """And named, as far as it can be."""
    with pytest.raises(AnswerBroken, match="in a way nobody asked for") as raised:
        DecodedResponse(Pieces(b"x"), encoding)
    assert raised.value.phase == "headers"


@pytest.mark.parametrize("piece", [64 * 1024, 1000])
async def test_a_bomb_is_stopped(piece: int) -> None:
    """What grows more than a hundredfold, past the first MiB, is no text; no more of it is inflated than that."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    came: list[int] = []

    async def take_all() -> None:
        response = DecodedResponse(Pieces(*cut(bomb, piece)), b"gzip")
        while data := await response.receive():
            came.append(len(data))

    with pytest.raises(AnswerBroken, match="grows without bound"):
        await take_all()
    assert sum(came) <= max(1024 * 1024, len(bomb) * 100)


async def test_many_small_bombs_are_one() -> None:
    """A new member is no new allowance."""
    bomb = gzip.compress(b"\0" * 500_000)

    with pytest.raises(AnswerBroken, match="grows without bound"):
        await inflated(b"gzip", *[bomb] * 100)


async def test_a_short_body_of_zeros_is_no_bomb() -> None:
    """Below a MiB any ratio goes."""
    assert await inflated(b"gzip", gzip.compress(b"\0" * 1_000_000)) == [b"\0" * 1_000_000]


async def test_it_says_what_is_left_to_say() -> None:
    """The encoding is gone from the headers, the rest stays; closing closes what is underneath."""
    packed = Pieces(gzip.compress(TEXT))
    response = DecodedResponse(packed, b"gzip")
    await response.aclose()

    assert response.headers == [(b"content-type", b"text/event-stream")]
    assert (response.status, response.reused, packed.closed) == (200, False, 1)
