"""From the provider to the client: a stream event by event, or a body piece by piece, never more than one read ahead.

What one upstream read gave leaves in one write; a client that is slow slows the reading down, since the next read waits
for the write. The end must be proven: a stream that ends without its wire's terminal event is an error (guarantee G5).
"""

from __future__ import annotations

import trio

from adaptors.failure import AnswerFailed
from adaptors.protocol import Answer
from relay_trio.channels.channel import ChannelClocks
from relay_trio.errors import UpstreamFailed
from relay_trio.relay.exchange import Exchange
from relay_trio.scopes.phase import UNLIMITED, LimitedPhase
from relay_trio.upstream.transport import Response

_AFTER_THE_END_S = 1.0
"""How long the framing's end is waited for after the stream's own end, so that the connection can serve again."""


async def deliver_events(exchange: Exchange, response: Response, answer: Answer, clocks: ChannelClocks) -> None:
    """Pass a stream on until its end is proven.

    Raises AnswerFailed (error event, garbage, no terminal event), UpstreamFailed, LimitReached, OSError (the client).
    """
    exchange.follow(lambda: answer.sequence)
    exchange.scope.clock.enter("first_event")
    if clocks.first_event is None and clocks.idle is None:
        await _pass_all(exchange, response, answer)
    else:
        await _pass_all_timed(exchange, response, answer, clocks)
    if not exchange.finished:
        await exchange.finish_events(b"".join(answer.end()))
    await _wait_end(response)


async def _pass_all(exchange: Exchange, response: Response, answer: Answer) -> None:
    """Pass on what comes until the terminal event or the end. The total alone bounds it."""
    while not answer.complete and (data := await response.receive()):
        await _pass_on(exchange, answer, data)


async def _pass_all_timed(exchange: Exchange, response: Response, answer: Answer, clocks: ChannelClocks) -> None:
    """Pass on what comes under two clocks: until the first event with content, then between two reads."""
    idle = clocks.idle or UNLIMITED
    with LimitedPhase("first_event", clocks.first_event or UNLIMITED) as phase:
        while not answer.complete and (data := await response.receive()):
            if answer.content_seen:
                phase.pause()  # a slow client is not a silent provider
            await _pass_on(exchange, answer, data)
            if answer.content_seen:
                phase.turn_into("idle", idle)


async def _pass_on(exchange: Exchange, answer: Answer, data: bytes) -> None:
    """Translate what one read gave and send it; what came before a failure is the client's all the same."""
    exchange.record.chunks_in += 1
    exchange.record.upstream_bytes_in += len(data)
    events: list[bytes] = []
    failed: AnswerFailed | None = None
    try:
        events.extend(answer.chunks(data))
    except AnswerFailed as error:
        failed = error
    block = events[0] if len(events) == 1 else b"".join(events)
    if answer.content_seen and exchange.record.first_event_s is None:
        exchange.record.first_event_s = exchange.scope.age
        exchange.scope.clock.enter("stream")
    if answer.complete and failed is None:
        await exchange.finish_events(block)
    elif block and (answer.content_seen or exchange.content_sent or not exchange.hold(block)):
        await exchange.send_events(block)
    if failed is not None:
        try:
            raise failed
        finally:
            failed = None  # its traceback holds this frame: they would hold each other until the collector comes


async def _wait_end(response: Response) -> None:
    """Let the connection be kept: its framing should end where its stream did."""
    if response.ended:
        return
    with trio.move_on_after(_AFTER_THE_END_S):
        try:
            while await response.receive():
                pass
        except UpstreamFailed:
            return


async def deliver_body(exchange: Exchange, response: Response, first: bytes) -> None:
    """Pass a body on that no wire reads; its framing proves its end. Raises UpstreamFailed, OSError (the client)."""
    exchange.scope.clock.enter("stream")
    data = first
    while data:
        exchange.record.chunks_in += 1
        exchange.record.upstream_bytes_in += len(data)
        await exchange.send_piece(data)
        data = await response.receive()
    await exchange.finish()
