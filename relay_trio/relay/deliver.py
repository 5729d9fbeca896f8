"""From the provider to the client: a stream event by event, or a body piece by piece, never more than one read ahead.

What one upstream read gave leaves in one write, and as long as the client takes what is written nothing waits: such a piece
goes across in the hub's own turn, and the request's task sleeps on. A client that is slow slows the reading down, since the
next read waits for the write. The end must be proven: a stream that ends without its wire's terminal event is an error
(guarantee G5).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from adaptors.failure import AnswerFailed
from adaptors.protocol import Answer
from relay_trio.channels.channel import ChannelClocks
from relay_trio.errors import UpstreamFailed
from relay_trio.relay.exchange import Exchange
from relay_trio.scopes.phase import UNLIMITED, LimitedPhase
from relay_trio.upstream.transport import Response, pass_pieces

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
    passing = Passing(exchange, answer)
    while not await pass_pieces(response, passing.take):
        await passing.settle()
        if answer.complete:
            return


async def _pass_all_timed(exchange: Exchange, response: Response, answer: Answer, clocks: ChannelClocks) -> None:
    """Pass on what comes under two clocks: until the first event with content, then between two reads."""
    idle = clocks.idle or UNLIMITED
    with LimitedPhase("first_event", clocks.first_event or UNLIMITED) as phase:
        passing = Passing(exchange, answer, lambda: phase.turn_into("idle", idle))
        while not await pass_pieces(response, passing.take):
            if answer.content_seen:
                phase.pause()  # a slow client is not a silent provider
            await passing.settle()
            if answer.complete:
                return
            if answer.content_seen:
                phase.turn_into("idle", idle)


class Passing:
    """Passes pieces of a stream on: `take` at once what nothing has to be waited for, `settle` the rest.

    `heard` is called for each piece once the stream has said something.
    """

    __slots__ = ("_answer", "_block", "_exchange", "_failure", "_heard")

    def __init__(self, exchange: Exchange, answer: Answer, heard: Callable[[], None] | None = None) -> None:
        self._exchange = exchange
        self._answer = answer
        self._heard = heard
        self._block = b""
        """What was translated and could not be sent at once."""
        self._failure: AnswerFailed | None = None

    def take(self, data: bytes) -> bool:
        """Translate what one read gave, and send it if that needs no wait. False: `settle` has something to do.

        Raises OSError (the client).
        """
        exchange, answer = self._exchange, self._answer
        exchange.record.chunks_in += 1
        exchange.record.upstream_bytes_in += len(data)
        block = self._translated(data)
        if answer.content_seen:
            if self._heard is not None:
                self._heard()
            if exchange.record.first_event_s is None:
                exchange.record.first_event_s = exchange.scope.age
                exchange.scope.clock.enter("stream")
        if answer.complete or self._failure is not None:
            self._block = block
            return False
        if not block or not (answer.content_seen or exchange.content_sent or not exchange.hold(block)):
            return True
        if exchange.send_events_now(block):
            return exchange.all_sent
        self._block = block
        return False

    def _translated(self, data: bytes) -> bytes:
        """Return what the client gets for it; what came before a failure is the client's all the same."""
        events: list[bytes] = []
        try:
            events.extend(self._answer.chunks(data))
        except AnswerFailed as error:
            self._failure = error
        return events[0] if len(events) == 1 else b"".join(events)

    async def settle(self) -> None:
        """Send what was left over, wait until the client has taken it, and raise what failed."""
        exchange = self._exchange
        block, self._block = self._block, b""
        if self._failure is None and self._answer.complete:
            await exchange.finish_events(block)
            return
        if block and (self._answer.content_seen or exchange.content_sent or not exchange.hold(block)):
            await exchange.send_events(block)
        else:
            await exchange.flush()
        try:
            if self._failure is not None:
                raise self._failure
        finally:
            self._failure = None  # its traceback holds this frame, and the frame holds us


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
