"""Faults of the connection: it is closed or reset at some phase, or one side of it is never read.

Each function is one behaviour; the first line of its docstring is what it promises to do.
"""

from __future__ import annotations

from relay_trio.testing.conversation import Conversation, Misbehaviour, Nature, Stage
from relay_trio.testing.http_text import Framing

# ---- Before any request


async def close_on_accept(c: Conversation) -> None:
    """Closes the connection right after accepting it."""
    c.link.close()


async def reset_on_accept(c: Conversation) -> None:
    """Resets the connection right after accepting it."""
    c.link.reset()


async def tls_hangs(c: Conversation) -> None:
    """Takes the ClientHello and never answers it."""
    await c.silence()


async def tls_closes(c: Conversation) -> None:
    """Takes the ClientHello and closes."""
    await c.link.receive()
    c.link.close()


async def tls_resets(c: Conversation) -> None:
    """Takes the ClientHello and resets."""
    await c.link.receive()
    c.link.reset()


async def tls_garbage(c: Conversation) -> None:
    """Answers the ClientHello in clear text, as a server does that expects no TLS."""
    await c.link.receive()
    await c.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await c.link.finish()


async def never_reads(c: Conversation) -> None:
    """Accepts and never reads: what the peer sends stalls once the sockets' buffers are full."""
    await c.link.told_to_read.wait()
    await c.silence()


# ---- During the request


async def reset_during_head(c: Conversation) -> None:
    """Resets while the request's head is being read."""
    c.link.reset()


async def close_during_head(c: Conversation) -> None:
    """Closes while the request's head is being read."""
    c.link.close()


async def never_reads_body(c: Conversation) -> None:
    """Reads the head and never the body: a large upload stalls."""
    await never_reads(c)


async def reset_during_body(c: Conversation) -> None:
    """Resets after the head, while the body is on its way."""
    c.link.reset()


async def early_answer(c: Conversation) -> None:
    """Answers before the body was sent, announces the close, reads on for a moment, and closes."""
    await c.send_answer(extra=((b"connection", b"close"),))
    await c.read_rest_and_finish()


async def early_answer_reset(c: Conversation) -> None:
    """Answers before the body was sent and resets at once, as servers do that do not linger."""
    await c.send_answer(extra=((b"connection", b"close"),))
    c.link.reset()


# ---- After the request


async def close_after_request(c: Conversation) -> None:
    """Closes where the answer should begin."""
    await c.link.finish()


async def reset_after_request(c: Conversation) -> None:
    """Resets where the answer should begin."""
    c.link.reset()


async def close_mid_head(c: Conversation) -> None:
    """Sends half of the head and closes."""
    await c.send(_half(c.head()))
    await c.link.finish()


async def reset_mid_head(c: Conversation) -> None:
    """Sends half of the head and resets."""
    await c.send(_half(c.head()))
    c.link.reset()


async def close_after_head(c: Conversation) -> None:
    """Sends the head and closes."""
    await c.send_head()
    await c.link.finish()


async def reset_after_head(c: Conversation) -> None:
    """Sends the head and resets."""
    await c.send_head()
    c.link.reset()


async def reset_mid_body(c: Conversation) -> None:
    """Sends the head and some of the body and resets."""
    await c.send_until_fault()
    c.link.reset()


async def truncated_length(c: Conversation) -> None:
    """Announces a content-length, sends less, and closes."""
    await c.send_until_fault(Framing.LENGTH)
    await c.link.finish()


async def truncated_chunked(c: Conversation) -> None:
    """Sends some chunks and closes between two, without the last chunk."""
    await c.send_until_fault(Framing.CHUNKED)
    await c.link.finish()


async def truncated_mid_chunk(c: Conversation) -> None:
    """Sends some chunks and closes in the middle of one."""
    await c.send_until_fault(Framing.CHUNKED)
    await c.send(b"1000\r\n" + c.answer.pieces[-1][:10])
    await c.link.finish()


async def truncated_without_notice(c: Conversation) -> None:
    """Sends some chunks, then a bare FIN: under TLS there is no close_notify."""
    await c.send_until_fault(Framing.CHUNKED)
    await c.link.half_close()
    await c.silence()


# ---- Between requests


async def close_announced(c: Conversation) -> None:
    """Answers, says `Connection: close`, and closes."""
    await c.send_answer(extra=((b"connection", b"close"),))
    await c.link.finish()


async def close_unannounced(c: Conversation) -> None:
    """Answers as if the connection were kept, and closes it at once."""
    await c.send_answer()
    c.link.close()


async def reset_unannounced(c: Conversation) -> None:
    """Answers as if the connection were kept, and resets it after a second."""
    await c.send_answer()
    await c.link.pause(c.interval(1.0))
    c.link.reset()


async def close_on_reuse(c: Conversation) -> None:
    """Answers, keeps the connection, and closes it as soon as the next request on it begins."""
    await c.send_answer()
    c.then = Misbehaviour("close-during-head", Stage.LINE, Nature.BROKEN, close_during_head)


async def reset_on_reuse(c: Conversation) -> None:
    """Answers, keeps the connection, and resets it as soon as the next request on it begins."""
    await c.send_answer()
    c.then = Misbehaviour("reset-during-head", Stage.LINE, Nature.BROKEN, reset_during_head)


async def stray_bytes(c: Conversation) -> None:
    """Answers, keeps the connection, and sends bytes on it that nobody asked for."""
    await c.send_answer()
    await c.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]
