"""Faults of what is said: errors of every dress, errors inside a success, the wrong format, compression.

HTTP itself is in order in everything here. Each function is one behaviour; the first line of its docstring is what it
promises to do.
"""

from __future__ import annotations

import email.utils
import functools
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs

from relay_trio.testing.answers import Answer, bytes_answer, encode, json_answer, named_event, stream_answer
from relay_trio.testing.conversation import Conversation, chunk, head_bytes
from relay_trio.testing.http_text import Framing, Headers

GIANT_LINE_BYTES = 32 * 1024 * 1024
"""Twice what the relay takes for one event."""

BOMB_BYTES = 256 * 1024 * 1024

HTML = b"<!doctype html><html><head><title>Sign in</title></head><body>" + b"<p>Welcome to the hotel.</p>" * 40

ERROR = {"message": "The engine is on fire.", "type": "server_error", "param": None, "code": "engine_on_fire"}

# ---- The honest answer


async def answer(c: Conversation) -> None:
    """Answers as an honest provider does; with status=429 and the like, with the provider's error."""
    await c.send_answer(interval_s=c.interval(0.0))


# ---- Errors


async def retry_after_seconds(c: Conversation) -> None:
    """Answers 429 with Retry-After in seconds."""
    await _send_429(c, (b"retry-after", b"%d" % c.fault.retry_after))


async def retry_after_ms(c: Conversation) -> None:
    """Answers 429 with retry-after-ms."""
    await _send_429(c, (b"retry-after-ms", b"%d" % (c.fault.retry_after * 1000)))


async def retry_after_date(c: Conversation) -> None:
    """Answers 429 with Retry-After as a date on the wall clock."""
    date = datetime.now(UTC) + timedelta(seconds=c.fault.retry_after)
    await _send_429(c, (b"retry-after", email.utils.format_datetime(date, usegmt=True).encode()))


async def retry_after_garbage(c: Conversation) -> None:
    """Answers 429 with a Retry-After that is neither a number nor a date."""
    await _send_429(c, (b"retry-after", b"soon"))


async def insufficient_quota(c: Conversation) -> None:
    """Answers 429 with the code that waiting does not cure."""
    error = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "param": None}
    await c.send_in_place(429, JSON, encode({"error": {**error, "code": "insufficient_quota"}}))


async def overloaded_529(c: Conversation) -> None:
    """Answers 529, overloaded."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    await c.send_in_place(529, JSON, encode({"type": "error", "error": error}))


async def html_503(c: Conversation) -> None:
    """Answers 503 with a page of HTML, as a load balancer does."""
    await c.send_in_place(503, ((b"content-type", b"text/html"), (b"server", b"nginx")), HTML)


async def empty_error(c: Conversation) -> None:
    """Answers with the status of the fault (503 if none) and no body at all."""
    await c.send_in_place(_error_status(c), (), b"")


async def text_error(c: Conversation) -> None:
    """Answers with the status of the fault (503 if none) and a line of text."""
    await c.send_in_place(_error_status(c), ((b"content-type", b"text/plain"),), b"upstream connect error")


async def redirect(c: Conversation) -> None:
    """Answers 302 and points to itself."""
    await c.send_in_place(302, ((b"location", c.request.target.encode()),), b"")


JSON: Headers = ((b"content-type", b"application/json"),)


async def _send_429(c: Conversation, field: tuple[bytes, bytes]) -> None:
    error = {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    await c.send_in_place(429, (*JSON, field), encode({"error": error}))


def _error_status(c: Conversation) -> int:
    return c.fault.status if c.fault.status >= 400 else 503


# ---- Errors inside a success


async def error_in_200(c: Conversation) -> None:
    """Answers 200 with a JSON error in the body, whether a stream was asked for or not."""
    await _send_other(c, json_answer({"error": ERROR}, c.answer.status))


async def error_event(c: Conversation) -> None:
    """Sends some events, then an error event, then ends cleanly; without a stream a JSON error in a 200."""
    if not c.answer.streamed:
        return await error_in_200(c)
    return await _send_other(c, stream_answer([*c.first_pieces, _error_event(c)]))


async def error_event_first(c: Conversation) -> None:
    """Sends an error event in place of the first event; without a stream a JSON error in a 200."""
    if not c.answer.streamed:
        return await error_in_200(c)
    return await _send_other(c, stream_answer([_error_event(c)]))


async def response_failed(c: Conversation) -> None:
    """Ends a Responses stream with `response.failed`; elsewhere like error-event."""
    if not c.answer.streamed or not c.request.path.endswith("/responses"):
        return await error_event(c)
    failed = {"id": "resp_failed", "object": "response", "status": "failed", "error": ERROR, "output": []}
    event = {"type": "response.failed", "sequence_number": len(c.first_pieces), "response": failed}
    return await _send_other(c, stream_answer([*c.first_pieces, named_event("response.failed", event)]))


def _error_event(c: Conversation) -> bytes:
    if not c.request.path.endswith("/responses"):
        return b"data: %b\n\n" % encode({"error": ERROR})
    flat = {"type": "error", "code": ERROR["code"], "message": ERROR["message"], "param": None}
    return named_event("error", {**flat, "sequence_number": len(c.first_pieces)})


# ---- The wrong format


async def html_200(c: Conversation) -> None:
    """Answers 200 with a page of HTML, as a captive portal does."""
    await c.send_in_place(200, ((b"content-type", b"text/html; charset=utf-8"),), HTML)


async def html_as_json(c: Conversation) -> None:
    """Answers with a page of HTML that calls itself what was asked for."""
    await _send_other(c, attrs.evolve(c.answer, pieces=(HTML,)))


async def json_for_stream(c: Conversation) -> None:
    """Answers 200 with a whole JSON answer where a stream was asked for."""
    wanted = attrs.evolve(c.fault.wanted(), stream=False)
    await _send_other(c, c.provider.answer(c.request.asked(), wanted))


async def stream_for_json(c: Conversation) -> None:
    """Answers with an event stream where none was asked for."""
    wanted = attrs.evolve(c.fault.wanted(), stream=True)
    await _send_other(c, c.provider.answer(c.request.asked(), wanted))


async def empty_200(c: Conversation) -> None:
    """Answers with the right head and an empty body."""
    await _send_other(c, attrs.evolve(c.answer, pieces=()))


async def bad_json(c: Conversation) -> None:
    """Sends a body whose JSON breaks off although its framing is complete; in a stream the last event's does."""
    *first, last = c.answer.pieces if not c.answer.streamed else (*c.first_pieces, c.answer.pieces[-2])
    cut = last[: len(last) // 2]
    await _send_other(c, attrs.evolve(c.answer, pieces=(*first, cut + b"\n\n" if c.answer.streamed else cut)))


async def garbage_in_body(c: Conversation) -> None:
    """Sends some of the body, then bytes that are neither JSON, SSE nor UTF-8, in good framing."""
    noise = b"data: {\x00\xff\xfe\x80]\n\n\x81\x82 : ?\n\n" * 5
    await _send_other(c, attrs.evolve(c.answer, pieces=(*c.first_pieces, noise)))


async def giant_line(c: Conversation) -> None:
    """Sends an event (or a JSON string) that is a single line of 32 MiB."""
    await c.send_until_fault(Framing.CHUNKED)
    await c.send_piece(b'data: {"choices":[{"index":0,"delta":{"content":"' if c.answer.streamed else b'"')
    for size in _blocks(c.size(GIANT_LINE_BYTES)):
        await c.send_piece(b"x" * size)
    await c.send_pieces(b'"}}]}\n\n' if c.answer.streamed else b'"', c.answer.pieces[-1])
    await c.send_end()


async def no_terminal_event(c: Conversation) -> None:
    """Ends a stream cleanly before its end: no finish_reason, no terminal event; without a stream answers well."""
    pieces = c.first_pieces if c.answer.streamed else c.answer.pieces
    await _send_other(c, attrs.evolve(c.answer, pieces=pieces))


async def no_done(c: Conversation) -> None:
    """Leaves only the last event of a stream out: `[DONE]`, after every finish_reason; else answers well."""
    pieces = c.answer.pieces[:-1] if c.answer.streamed else c.answer.pieces
    await _send_other(c, attrs.evolve(c.answer, pieces=pieces))


async def torn_last_event(c: Conversation) -> None:
    """Ends a stream without the blank line after its last event; else answers well."""
    *first, last = c.answer.pieces
    pieces = (*first, last.rstrip(b"\n")) if c.answer.streamed else c.answer.pieces
    await _send_other(c, attrs.evolve(c.answer, pieces=pieces))


async def stream_in_other_spelling(c: Conversation) -> None:
    """Spells a good stream as SSE allows: BOM, CRLF, comments, no space after the colon; else answers well."""
    spelled = [piece.replace(b"data: ", b"data:").replace(b"\n", b"\r\n") for piece in c.answer.pieces]
    pieces = (b"\xef\xbb\xbf: hello\r\n\r\n", *spelled) if c.answer.streamed else c.answer.pieces
    await _send_other(c, attrs.evolve(c.answer, pieces=pieces))


async def _send_other(c: Conversation, other: Answer) -> None:
    c.replace_answer(other)
    await c.send_answer()


def _blocks(size: int, block: int = 64 * 1024) -> Iterator[int]:
    for at in range(0, size, block):
        yield min(block, size - at)


# ---- Compression


async def gzip_answer(c: Conversation) -> None:
    """Sends a good answer compressed with gzip, each piece flushed on its own, although nobody asked for it."""
    await _send_other(c, _compressed(c.answer, b"gzip", 16 + zlib.MAX_WBITS))


async def deflate_answer(c: Conversation) -> None:
    """Sends a good answer compressed with deflate."""
    await _send_other(c, _compressed(c.answer, b"deflate", zlib.MAX_WBITS))


async def gzip_truncated(c: Conversation) -> None:
    """Sends a gzip'd body that lacks its last part, in good framing."""
    whole = _compressed(c.answer, b"gzip", 16 + zlib.MAX_WBITS)
    await _send_other(c, attrs.evolve(whole, pieces=whole.pieces[:-2]))


async def gzip_corrupt(c: Conversation) -> None:
    """Says gzip and sends what is none."""
    await _send_other(c, attrs.evolve(c.answer, headers=(*c.answer.headers, (b"content-encoding", b"gzip"))))


async def gzip_bomb(c: Conversation) -> None:
    """Sends a quarter of a MiB of gzip that is 256 MiB of JSON string."""
    headers = (*c.answer.headers, (b"content-encoding", b"gzip"), (b"transfer-encoding", b"chunked"))
    await c.send(head_bytes(c.answer.status, headers))
    for piece in _bomb(c.size(BOMB_BYTES)):
        await c.send(chunk(piece))
    await c.send(b"0\r\n\r\n")


async def unknown_encoding(c: Conversation) -> None:
    """Says a content-encoding that does not exist."""
    await _send_other(c, attrs.evolve(c.answer, headers=(*c.answer.headers, (b"content-encoding", b"x-secret"))))


def _compressed(plain: Answer, name: bytes, window: int) -> Answer:
    packer = zlib.compressobj(wbits=window)
    pieces = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in plain.pieces]
    headers = (*plain.headers, (b"content-encoding", name))
    return attrs.evolve(plain, headers=headers, pieces=(*pieces, packer.flush()))


def _bomb(size: int) -> Iterator[bytes]:
    """Yield one gzip stream: after a full flush the same input packs to the same bytes, so it is packed only once."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = b"x" * BOMB_BLOCK_BYTES
    quote, packed = (packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH) for data in (b'"', block))
    count = size // BOMB_BLOCK_BYTES
    yield BARE_GZIP_HEADER + quote
    yield from (packed for _ in range(count))
    checksum = functools.reduce(lambda crc, data: zlib.crc32(data, crc), [b'"', *[block] * count, b'"'], 0)
    yield packer.compress(b'"') + packer.flush() + struct.pack("<II", checksum, count * BOMB_BLOCK_BYTES + 2)


BARE_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952 section 2.3: deflate, no name, no time

BOMB_BLOCK_BYTES = 1024 * 1024


async def binary_for_json(c: Conversation) -> None:
    """Answers 200 with bytes that are no text."""
    await _send_other(c, bytes_answer(bytes(range(256)) * 16, b"application/octet-stream", c.answer.status))
