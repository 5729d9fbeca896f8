"""HTTP/1.1 heads and bodies read off a link, strictly, and with a word on how each body ended.

The law: a body is complete only when its framing proved it. What is not complete is named (`BodyEnd`), never guessed.
This reader is meant to be plain: one function for each sentence of RFC 9112, no speed.
"""

from __future__ import annotations

import enum
import string

import attrs

from relay_trio.testing.link import RECEIVE_BYTES, EndedBy, Link, PeerGone

MAX_HEAD_BYTES = 256 * 1024
"""Far above what the relay allows, so that a test can send it too much and see it refuse."""

MAX_LINE_BYTES = 64 * 1024

MAX_BODY_BYTES = 256 * 1024 * 1024
"""The most that `read_body` keeps: above the largest body of any test, below the memory of a small machine."""

Headers = tuple[tuple[bytes, bytes], ...]


class Malformed(Exception):
    """What the peer sent is no HTTP/1.1."""


@attrs.frozen
class Head:
    """A start line and its header fields, names and values as they stood on the wire."""

    start_line: bytes
    headers: Headers

    def get(self, name: str) -> str | None:
        """Return the first value of this header field, or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return all values of this header field, in their order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def has_token(self, name: str, token: str) -> bool:
        """Tell whether one of the comma-separated tokens of this header field is `token`."""
        return any(token == part.strip().lower() for value in self.all(name) for part in value.split(","))


async def read_line(link: Link, limit: int = MAX_LINE_BYTES) -> bytes:
    """Return the next line without its CRLF. Raises PeerGone, Malformed."""
    try:
        return (await link.read_until(b"\r\n", limit))[:-2]
    except ValueError as exc:
        raise Malformed(str(exc)) from exc


async def read_fields(link: Link) -> Headers:
    """Return the header or trailer fields up to and with the empty line. Raises PeerGone, Malformed."""
    fields = []
    budget = MAX_HEAD_BYTES
    while line := await read_line(link, budget):
        budget -= len(line)
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip() or budget < 0:
            raise Malformed(f"no header field: {line[:80]!r}")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


async def read_head(link: Link) -> Head:
    """Return the next start line and its header fields. Raises PeerGone, Malformed."""
    start_line = await read_line(link)
    return Head(start_line, await read_fields(link))


# ---- Bodies


class Framing(enum.Enum):
    """How a body tells its end (RFC 9112 section 6.3)."""

    NONE = "no body"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "until the connection closes"


class BodyEnd(enum.Enum):
    """How a body ended."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    """FIN before the framing was satisfied."""
    RESET = "reset"
    MALFORMED = "malformed"
    TOO_LARGE = "too large"


def body_length(head: Head) -> int:
    """Return the content-length. Raises Malformed when it is none, or when there are two that differ."""
    values = set(head.all("content-length"))
    if len(values) != 1 or not (text := values.pop()).isdecimal() or not text.isascii():
        raise Malformed(f"content-length: {head.all('content-length')}")
    return int(text)


def framing_of(head: Head, otherwise: Framing) -> Framing:
    """Return the framing that the head announces. Raises Malformed when it announces two."""
    length, encoding = head.all("content-length"), head.all("transfer-encoding")
    if length and encoding:
        raise Malformed("both content-length and transfer-encoding")
    if encoding and [value.lower() for value in encoding] != ["chunked"]:
        raise Malformed(f"transfer-encoding: {encoding}")
    if encoding:
        return Framing.CHUNKED
    return Framing.LENGTH if length else otherwise


@attrs.define(eq=False)
class BodyReader:
    """Reads one body piece by piece; `end` is None until it has ended, then says how."""

    link: Link
    framing: Framing
    left: int = 0
    """Bytes still to come: of the body with a length, of the current chunk with chunks."""
    in_chunk: bool = False
    """A chunk's CRLF is still to come."""
    end: BodyEnd | None = None
    trailers: Headers = ()
    complaint: str = ""

    @classmethod
    def for_head(cls, link: Link, head: Head, otherwise: Framing) -> BodyReader:
        """Return the reader for the body that follows this head."""
        framing = framing_of(head, otherwise)
        return cls(link, framing, left=body_length(head) if framing is Framing.LENGTH else 0)

    async def next_piece(self) -> bytes:
        """Return the next bytes of the body, b"" when it has ended."""
        if self.end is not None:
            return b""
        try:
            return await self._next_piece()
        except PeerGone:
            self.end = BodyEnd.RESET if self.link.ended_by is EndedBy.PEER_RESET else BodyEnd.TRUNCATED
        except Malformed as exc:
            self.end, self.complaint = BodyEnd.MALFORMED, str(exc)
        return b""

    async def _next_piece(self) -> bytes:
        match self.framing:
            case Framing.LENGTH:
                return await self._piece_of_length()
            case Framing.CHUNKED:
                return await self._piece_of_chunk()
            case Framing.CLOSE:
                return await self._piece_until_close()
            case Framing.NONE:
                self.end = BodyEnd.COMPLETE
                return b""

    async def _piece_of_length(self) -> bytes:
        if not self.left:
            self.end = BodyEnd.COMPLETE
            return b""
        piece = await self.link.read_some(min(self.left, RECEIVE_BYTES))
        self.left -= len(piece)
        return piece

    async def _piece_of_chunk(self) -> bytes:
        if not self.left:
            await self._start_chunk()
        if not self.left:
            self.trailers = await read_fields(self.link)
            self.end = BodyEnd.COMPLETE
            return b""
        return await self._piece_of_length()

    async def _start_chunk(self) -> None:
        if self.in_chunk and await read_line(self.link):
            raise Malformed("the chunk is longer than its size")
        self.in_chunk = True
        self.left = chunk_size(await read_line(self.link))

    async def _piece_until_close(self) -> bytes:
        data = await self.link.receive()
        if not data:
            self.end = BodyEnd.COMPLETE
        return data


def chunk_size(line: bytes) -> int:
    """Return the size in a chunk's first line, extensions left out. Raises Malformed."""
    digits = line.partition(b";")[0].strip(b" \t")
    if not digits or len(digits) > 15 or not set(digits.decode("latin-1")) <= set(string.hexdigits):
        raise Malformed(f"chunk size {line[:40]!r}")
    return int(digits, 16)


@attrs.frozen
class Body:
    """A body as it came, and how it ended."""

    data: bytes
    end: BodyEnd
    trailers: Headers = ()

    @property
    def complete(self) -> bool:
        """The framing proved that nothing is missing."""
        return self.end is BodyEnd.COMPLETE


async def read_body(reader: BodyReader, limit: int = MAX_BODY_BYTES) -> Body:
    """Return the whole body, or what came of it."""
    data = bytearray()
    while piece := await reader.next_piece():
        data += piece
        if len(data) > limit:
            return Body(bytes(data), BodyEnd.TOO_LARGE)
    assert reader.end is not None
    return Body(bytes(data), reader.end, reader.trailers)
