"""Faults of time: silence, dripping, and what never ends.

Each function is one behaviour; the first line of its docstring is what it promises to do. All of them notice when the
peer leaves and can be cancelled. What never ends lets a second go by between two sends (`interval=0` for full speed), so
that a virtual clock gets its turn.
"""

from __future__ import annotations

import math

from relay_trio.testing.conversation import Conversation, padding_event
from relay_trio.testing.http_text import Framing

ENDLESS_BYTES = 64 * 1024
"""What is sent at a time by what never ends."""

# ---- Silence


async def silent_before_head(c: Conversation) -> None:
    """Takes the request and never says a word."""
    await c.silence()


async def silent_mid_head(c: Conversation) -> None:
    """Sends half of the head, then nothing."""
    head = c.head()
    await c.send(head[: len(head) // 2])
    await c.silence()


async def silent_after_head(c: Conversation) -> None:
    """Sends the head; the body never comes."""
    await c.send_head()
    await c.silence()


async def silent_mid_body(c: Conversation) -> None:
    """Sends some of the body, then nothing."""
    await c.send_until_fault()
    await c.silence()


async def silent_before_end(c: Conversation) -> None:
    """Sends all of the body but what proves its end: the last byte, or the last chunk."""
    await c.send_head()
    await c.send_pieces(*c.answer.pieces[:-1])
    await (c.send_piece(c.answer.pieces[-1]) if c.answer.streamed else c.send(c.answer.pieces[-1][:-1]))
    await c.silence()


async def late_head(c: Conversation) -> None:
    """Is silent for ten minutes, then answers well."""
    await c.link.pause(c.interval(600.0))
    await c.send_answer()


async def late_body(c: Conversation) -> None:
    """Sends the head at once, is silent for ten minutes, then sends a good body."""
    await c.send_head()
    await c.link.pause(c.interval(600.0))
    await c.send_pieces(*c.answer.pieces)
    await c.send_end()


# ---- Slowness


async def drip_head(c: Conversation) -> None:
    """Sends a good answer whose head comes a byte a second."""
    await _drip(c, c.head())
    for piece in c.answer.pieces:
        await c.send_piece(piece)
    await c.send_end()


async def drip_body(c: Conversation) -> None:
    """Sends a good answer whose body comes a byte a second."""
    await c.send_head()
    for piece in c.answer.pieces:
        for at in range(len(piece)):
            await c.send_piece(piece[at : at + 1])
            await c.link.pause(c.interval(1.0))
    await c.send_end()


async def slow_body(c: Conversation) -> None:
    """Sends a good answer, a piece a second: slow, but with progress."""
    await c.send_head()
    for piece in c.answer.pieces:
        await c.link.pause(c.interval(1.0))
        await c.send_piece(piece)
    await c.send_end()


async def _drip(c: Conversation, data: bytes) -> None:
    for at in range(len(data)):
        await c.send(data[at : at + 1])
        await c.link.pause(c.interval(1.0))


# ---- What never ends


async def endless_body(c: Conversation) -> None:
    """Sends a body that never ends, 64 KiB a second: events without end, or one JSON string without end."""
    await c.send_until_fault(Framing.CHUNKED)
    piece = _endless_piece(c, c.size(ENDLESS_BYTES))
    for _ in _for_ever():
        await c.send_piece(piece)
        await c.link.pause(c.interval(1.0))


async def endless_drip(c: Conversation) -> None:
    """Sends a body that never ends, a byte a second."""
    await c.send_until_fault(Framing.CHUNKED)
    for _ in _for_ever():
        await c.send_piece(b":" if c.answer.streamed else b" ")
        await c.link.pause(c.interval(1.0))


async def endless_comments(c: Conversation) -> None:
    """Sends the head and then nothing but keep-alive comments (white space without a stream), one in ten seconds."""
    await c.send_head(Framing.CHUNKED)
    for _ in _for_ever():
        await c.send_piece(b": keep-alive\n\n" if c.answer.streamed else b" \n")
        await c.link.pause(c.interval(10.0))


async def endless_head(c: Conversation) -> None:
    """Sends header fields without end, a hundred a second."""
    await c.send(c.head()[:-2])
    for number in _for_ever():
        await c.send(b"".join(b"x-field-%d-%d: more\r\n" % (number, i) for i in range(100)))
        await c.link.pause(c.interval(1.0))


async def endless_interim(c: Conversation) -> None:
    """Sends `102 Processing` once a second and never a final head."""
    for _ in _for_ever():
        await c.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await c.link.pause(c.interval(1.0))


async def endless_trailers(c: Conversation) -> None:
    """Sends a good body in chunks and then trailer fields without end."""
    await c.send_head(Framing.CHUNKED)
    await c.send_pieces(*c.answer.pieces)
    await c.send(b"0\r\n")
    for number in _for_ever():
        await c.send(b"x-trailer-%d: %b\r\n" % (number, b"x" * 1000))
        await c.link.pause(c.interval(1.0))


def _endless_piece(c: Conversation, size: int) -> bytes:
    return padding_event(size) if c.answer.streamed else b"x" * size


def _for_ever() -> range:
    # Bounded by the request's deadline in the relay, by cancellation, or by the peer's leaving; never by this number.
    return range(int(math.pow(10, 12)))
