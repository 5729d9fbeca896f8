"""Faults and oddities of HTTP itself: what is no HTTP, what contradicts itself, and what is rare but right.

Each function is one behaviour; the first line of its docstring is what it promises to do.
"""

from __future__ import annotations

from relay_trio.testing.conversation import LAST_CHUNK, Conversation, chunk, framing_fields, head_bytes
from relay_trio.testing.http_text import Framing

GIANT_FIELD_BYTES = 1024 * 1024
MANY_FIELDS = 5000

# ---- No HTTP


async def garbage(c: Conversation) -> None:
    """Sends bytes that are no HTTP, and closes."""
    await c.send(bytes(range(256)) * 4)
    await c.link.finish()


async def bad_status_line(c: Conversation) -> None:
    """Sends a status line whose status is no number."""
    await c.send(b"HTTP/1.1 OK 200\r\ncontent-length: 0\r\n\r\n")
    await c.link.finish()


async def bad_version(c: Conversation) -> None:
    """Says HTTP/9.9."""
    await c.send(c.head().replace(b"HTTP/1.1", b"HTTP/9.9", 1) + c.answer.body)
    await c.link.finish()


async def bad_header_line(c: Conversation) -> None:
    """Sends a header line without a colon."""
    await _send_with_line(c, b"this is no header field\r\n")


async def nul_in_header(c: Conversation) -> None:
    """Sends a header value with a NUL in it."""
    await _send_with_line(c, b"x-odd: a\x00b\r\n")


async def giant_header(c: Conversation) -> None:
    """Sends one header field of 1 MiB."""
    await _send_with_line(c, b"x-giant: %b\r\n" % (b"x" * c.size(GIANT_FIELD_BYTES)))


async def many_headers(c: Conversation) -> None:
    """Sends five thousand header fields."""
    await _send_with_line(c, b"".join(b"x-field-%d: 1\r\n" % i for i in range(c.size(MANY_FIELDS))))


async def giant_status_line(c: Conversation) -> None:
    """Sends a status line of 1 MiB."""
    await c.send(b"HTTP/1.1 200 %b\r\ncontent-length: 0\r\n\r\n" % (b"x" * c.size(GIANT_FIELD_BYTES)))
    await c.link.finish()


async def _send_with_line(c: Conversation, line: bytes) -> None:
    await c.send(c.head(Framing.LENGTH)[:-2] + line + b"\r\n")
    await c.send_pieces(*c.answer.pieces)
    await c.link.finish()


# ---- Wrong framing


async def bad_chunk_size(c: Conversation) -> None:
    """Sends some chunks and then one whose size is no number."""
    await _break_chunks(c, b"zz\r\nhello\r\n")


async def negative_chunk_size(c: Conversation) -> None:
    """Sends some chunks and then one of size -5."""
    await _break_chunks(c, b"-5\r\nhello\r\n")


async def huge_chunk_size(c: Conversation) -> None:
    """Sends some chunks and then one whose size does not fit into 64 bits."""
    await _break_chunks(c, b"fffffffffffffffff\r\nhello\r\n")


async def giant_chunk_line(c: Conversation) -> None:
    """Sends some chunks and then one whose extension is 1 MiB."""
    await _break_chunks(c, b"5;%b\r\nhello\r\n" % (b"x" * c.size(GIANT_FIELD_BYTES)))


async def chunk_too_long(c: Conversation) -> None:
    """Sends some chunks and then one with more data than its size says."""
    await _break_chunks(c, b"5\r\nhello, world\r\n")


async def _break_chunks(c: Conversation, broken: bytes) -> None:
    await c.send_until_fault(Framing.CHUNKED)
    await c.send(broken + LAST_CHUNK)
    await c.link.finish()


async def length_too_small(c: Conversation) -> None:
    """Announces a content-length that ends in the middle of the body, and sends the whole body."""
    await _send_with_length(c, b"%d" % (c.answer.size // 2))
    c.reuse = False


async def length_too_large(c: Conversation) -> None:
    """Announces more than it sends, and keeps the connection open."""
    await _send_with_length(c, b"%d" % (c.answer.size + 100))
    await c.silence()


async def length_invalid(c: Conversation) -> None:
    """Announces a content-length that is no number."""
    await _send_with_length(c, b"many")
    await c.link.finish()


async def length_negative(c: Conversation) -> None:
    """Announces a content-length of -1."""
    await _send_with_length(c, b"-1")
    await c.link.finish()


async def lengths_differ(c: Conversation) -> None:
    """Announces two different content-lengths."""
    size = c.answer.size
    await _send_with_length(c, b"%d\r\ncontent-length: %d" % (size, size + 1))
    await c.link.finish()


async def length_and_chunked(c: Conversation) -> None:
    """Announces both a content-length and chunks, and sends chunks."""
    await c.send_head(Framing.CHUNKED, framing_fields(Framing.LENGTH, c.answer.size))
    await c.send_pieces(*c.answer.pieces)
    await c.send_end()


async def _send_with_length(c: Conversation, length: bytes) -> None:
    await c.send(head_bytes(c.answer.status, (*c.answer.headers, (b"content-length", length))))
    for piece in c.answer.pieces:
        await c.send(piece)


async def body_after_204(c: Conversation) -> None:
    """Answers 204, which has no body, and sends one all the same."""
    await c.send(head_bytes(204, c.answer.headers) + c.answer.body)
    c.reuse = False


# ---- Rare but right


async def close_delimited(c: Conversation) -> None:
    """Sends a good answer that ends where the connection does."""
    await c.send_answer(Framing.CLOSE)


async def http10(c: Conversation) -> None:
    """Sends a good answer as HTTP/1.0, which ends where the connection does."""
    await c.send(c.head(Framing.CLOSE).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    await c.send_pieces(*c.answer.pieces)
    await c.send_end()


async def chunked(c: Conversation) -> None:
    """Sends a good answer in chunks, whether it is a stream or not."""
    await c.send_answer(Framing.CHUNKED)


async def fixed_length(c: Conversation) -> None:
    """Sends a good answer with a content-length, whether it is a stream or not."""
    await c.send_answer(Framing.LENGTH)


async def interim(c: Conversation) -> None:
    """Sends 100, 102 and 103 before a good answer."""
    await c.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    await c.send(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
    await c.send_answer()


async def trailers(c: Conversation) -> None:
    """Sends a good answer in chunks with trailer fields."""
    await c.send_head(Framing.CHUNKED, ((b"trailer", b"x-checksum"),))
    await c.send_pieces(*c.answer.pieces)
    await c.send(b"0\r\nx-checksum: 1234\r\n\r\n")


async def chunk_extensions(c: Conversation) -> None:
    """Sends a good answer in chunks with extensions."""
    await c.send_head(Framing.CHUNKED)
    for piece in c.answer.pieces:
        await c.send(b'%x;signature="a;b"\r\n%b\r\n' % (len(piece), piece))
    await c.send_end()


async def one_byte_chunks(c: Conversation) -> None:
    """Sends a good answer in chunks of one byte."""
    await c.send_head(Framing.CHUNKED)
    body = c.answer.body
    await c.send(b"".join(chunk(body[at : at + 1]) for at in range(len(body))))
    await c.send_end()


async def one_byte_writes(c: Conversation) -> None:
    """Sends a good answer, head and body, each byte by a write of its own."""
    data = c.head(Framing.LENGTH) + c.answer.body
    for at in range(len(data)):
        await c.send(data[at : at + 1])


async def one_write(c: Conversation) -> None:
    """Sends a good answer, head and body, in a single write."""
    await c.send(c.head(Framing.CHUNKED) + b"".join(map(chunk, c.answer.pieces)) + LAST_CHUNK)


async def duplicate_headers(c: Conversation) -> None:
    """Sends a good answer with header fields that come twice."""
    twice = ((b"x-twice", b"one"), (b"x-twice", b"two"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    await c.send_answer(extra=twice)


async def folded_header(c: Conversation) -> None:
    """Sends a good answer with a header value folded over two lines, as HTTP once allowed."""
    await c.send(c.head(Framing.LENGTH)[:-2] + b"x-folded: one\r\n two\r\n\r\n")
    await c.send_pieces(*c.answer.pieces)


async def bare_line_feeds(c: Conversation) -> None:
    """Sends a good answer whose head has LF where CRLF should be."""
    await c.send(c.head(Framing.LENGTH).replace(b"\r\n", b"\n"))
    await c.send_pieces(*c.answer.pieces)
