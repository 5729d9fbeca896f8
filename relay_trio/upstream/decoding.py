"""Compressed answers, where a wire must read them although it asked for `identity`.

Each read is inflated as far as it goes, so a stream is not held up; what comes out is bounded by a ratio, since a bomb of
48 KB can hold 50 MB.
"""

from __future__ import annotations

import zlib

from adaptors.values import Header
from relay_trio.errors import AnswerBroken
from relay_trio.upstream.transport import Response

_MAX_RATIO = 100
"""Text of models compresses 3 to 10 times; deflate's own limit is 1032."""
_FREE_BYTES = 1024 * 1024
"""What may come out before the ratio counts: a short body of zeros is no bomb."""

_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class DecodedResponse:
    """A response whose body is inflated on the way. Has the interface of a Response."""

    def __init__(self, response: Response, encoding: bytes) -> None:
        bits = _WINDOW_BITS.get(encoding.strip().lower())
        if bits is None:
            name = encoding.decode("latin-1")[:20]
            raise AnswerBroken(
                f'The provider compressed its answer in a way nobody asked for ("{name}").', phase="headers"
            )
        self._response = response
        self._bits = bits
        self._inflater = zlib.decompressobj(bits)
        self._taken = 0
        self._given = 0
        self.status = response.status
        self.headers: list[Header] = [field for field in response.headers if field[0] != b"content-encoding"]
        self.fields = {name: value for name, value in response.fields.items() if name != b"content-encoding"}
        self.reused = response.reused

    @property
    def ended(self) -> bool:
        """All of the body has been received, and its end is proven."""
        return self._response.ended and self._inflater.eof

    async def receive(self) -> bytes:
        """Return the next piece that inflates to something; b"" at the end that both framing and format prove."""
        while True:
            data = await self._response.receive()
            if not data:
                if not self._inflater.eof:
                    raise AnswerBroken("The provider's compressed answer broke off.", phase="answer")
                return b""
            inflated = self._inflate(data)
            if inflated:
                return inflated

    def _inflate(self, data: bytes) -> bytes:
        self._taken += len(data)
        pieces = []
        while data:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(self._bits)  # a body may have several members (RFC 1952, 2.2)
            pieces.append(self._inflate_member(data))
            data = self._inflater.unused_data
        return b"".join(pieces)

    def _inflate_member(self, data: bytes) -> bytes:
        room = max(_FREE_BYTES, self._taken * _MAX_RATIO) - self._given
        try:
            inflated = self._inflater.decompress(data, room + 1)
        except zlib.error as error:
            raise AnswerBroken("The provider's compressed answer is damaged.", phase="answer") from error
        if len(inflated) > room:
            raise AnswerBroken("The provider's compressed answer grows without bound.", phase="answer")
        self._given += len(inflated)
        return inflated

    async def aclose(self) -> None:
        """Close what is underneath."""
        await self._response.aclose()
