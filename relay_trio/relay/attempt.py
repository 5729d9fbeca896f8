"""One try on one key of one channel: the request goes out, its answer comes back, or the error says what became of it.

Whatever happens, the answer's connection is given back or closed before this returns, an error answer's too: its body is
read under a limit of size and time, and then the response is closed, whatever the read did (guarantee G4). That was the
ancestor's death.
"""

from __future__ import annotations

import attrs
import trio

from adaptors.endpoints import wire_of
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.protocol import Adaptor, Answer
from adaptors.values import Call
from relay_trio.channels.selection import Candidate
from relay_trio.errors import AnswerBroken, UpstreamAnswered, UpstreamFailed
from relay_trio.relay import headers as header_fields
from relay_trio.relay.admission import Reservation
from relay_trio.relay.affinity import id_in_answer
from relay_trio.relay.deliver import deliver_body, deliver_events
from relay_trio.relay.exchange import Exchange
from relay_trio.relay.preparing import Preparation, request_on_the_spot
from relay_trio.relay.services import RelayServices
from relay_trio.scopes.phase import LimitedWhole, PhaseClock
from relay_trio.upstream.decoding import DecodedResponse
from relay_trio.upstream.transport import Response, Upload, UpstreamResponse

ERROR_BODY_MAX_BYTES = 64 * 1024
"""No error message that helps is longer; what is more is an attack or a web page."""
ERROR_BODY_S = 5.0
"""An error body that was not here by then is not waited for: the status is known, and says enough."""

_FIRST_REDIRECT = 300
_NOT_MODIFIED = 304
_FIRST_ERROR_STATUS = 400
_BODILESS = frozenset({202, 204, 304})
"""An answer may have no body: nothing is there, nothing has changed, or (202) it is not ready yet, as at xAI."""


@attrs.define(eq=False)
class Attempts:
    """What all attempts of one call share.

    The call is asked for here each time: a stream may last for an hour, and who holds its call holds its body.
    """

    call: Call
    reservation: Reservation
    upload: Upload | None
    looking: bool
    """Nobody knows who made the object: it is asked for in turn, and a 404 is not the last word."""
    preparation: Preparation

    def no_more(self) -> None:
        """Content has left: nobody else is asked, so the call is forgotten, and others have room for their bodies."""
        del self.call
        self.preparation.fetched.clear()
        self.reservation.give_back()


@attrs.frozen(eq=False)
class Attempt:
    """What one try needs to know."""

    services: RelayServices
    exchange: Exchange
    candidate: Candidate
    attempts: Attempts

    async def run(self) -> None:
        """Relay the call over this candidate, to the end of its answer.

        Raises RelayError (what failed, and whether another attempt may help: `fallback.next_step` decides), AnswerFailed,
        OSError (the client is gone).
        """
        channel = self.candidate.channel
        clock = self.exchange.scope.clock
        self.exchange.request.side.limit_writes(channel.clocks.client_write)
        if channel.clocks.total.seconds < self.exchange.scope.total.seconds:
            with LimitedWhole(clock, channel.clocks.total):
                await self._run()
        else:
            await self._run()

    async def _run(self) -> None:
        model = self.candidate.channel.upstream_model(self.attempts.call.model)
        response = await self._send(model)
        scope = self.exchange.scope
        scope.holding += 1
        if isinstance(response, UpstreamResponse):
            scope.let_go = response.close
        try:
            await self._answer(response, model)
        finally:
            scope.let_go = None
            await response.aclose()
            scope.holding -= 1

    async def _send(self, model: str | None) -> Response:
        """Make the request that this provider gets, and send it; return when the head of the answer is here."""
        candidate, attempts = self.candidate, self.attempts
        channel = candidate.channel
        if channel.wants_preparation:
            request = await attempts.preparation.request(attempts.call, candidate, model)
        else:
            request = request_on_the_spot(attempts.call, candidate, model)
        scope, record = self.exchange.scope, self.exchange.record
        record.dropped = request.dropped
        response = await self.services.sender(channel).send(
            request, channel.route, scope.clock, channel.clocks.headers, attempts.upload
        )
        record.upstream_bytes_out += scope.bytes_in if request.body is None else len(request.body)
        return response

    async def _answer(self, response: Response, model: str | None) -> None:
        attempts, adaptor = self.attempts, self.candidate.channel.adaptor
        stream = attempts.call.stream
        record = self.exchange.record
        record.upstream_request_id = header_fields.upstream_request_id(response.fields)
        if response.status >= _FIRST_ERROR_STATUS:
            raise await read_failure(response, adaptor, self.exchange.scope.clock)
        if wire_of(attempts.call.endpoint, stream=stream) is None:
            await self._pass_body(response)
            return
        if response.status >= _FIRST_REDIRECT and response.status != _NOT_MODIFIED:
            raise AnswerBroken(f"The provider redirected ({response.status}), which is not followed.", phase="headers")
        response = _readable(response)
        settings = self.services.catalog.current.settings
        answer = adaptor.answer(attempts.call, self.candidate.key.account, model, settings.max_event_bytes)
        try:
            if stream:
                await self._pass_events(response, answer)
            else:
                await self._pass_whole(response, answer, settings.max_answer_bytes)
        finally:
            record.usage = answer.usage
            if answer.stored_id is not None:
                self.services.affinity.learn(answer.stored_id, self.candidate.id)

    async def _pass_events(self, response: Response, answer: Answer) -> None:
        content_type = response.fields.get(b"content-type", b"")
        if not content_type.lower().startswith(getattr(answer, "stream_type", b"text/event-stream")):
            body, _ = await _read_bounded(response)
            _raise_error_inside(answer, body)
            raise AnswerBroken(
                "The provider answered a stream request with something else than a stream.", phase="headers"
            )
        self.exchange.set_stream_headers(self._headers(response))
        await deliver_events(self.exchange, response, answer, self.candidate.channel.clocks)

    async def _pass_whole(self, response: Response, answer: Answer, max_bytes: int) -> None:
        self.exchange.scope.clock.enter("answer")
        upstream_body = await self._read_whole(response, max_bytes)
        self.exchange.record.upstream_bytes_in += len(upstream_body)
        if not upstream_body and (response.status in _BODILESS or self.attempts.call.method == b"HEAD"):
            await self.exchange.answer(response.status, self._headers(response), b"")
            return
        body = answer.whole(upstream_body)
        self.exchange.record.first_event_s = self.exchange.scope.age
        await self.exchange.answer(response.status, self._headers(response), body)

    async def _read_whole(self, response: Response, max_bytes: int) -> bytes:
        """Read a unary answer: it is looked at before the client gets any of it, so that a broken one can be retried."""
        first = await response.receive()
        pieces = [first]
        size = held = 0
        while pieces[-1]:
            size += len(pieces[-1])
            if size > max_bytes:
                raise AnswerBroken(f"The provider's answer is over the limit of {max_bytes} bytes.", phase="answer")
            if not self.attempts.reservation.grow_nowait(size - held):
                await self.attempts.reservation.grow(size - held, self.exchange.scope.clock)
            held = size
            pieces.append(await response.receive())
        return first if size == len(first) else b"".join(pieces)

    async def _pass_body(self, response: Response) -> None:
        """Pass on what no wire reads. Until the first piece is here another attempt may follow."""
        headers = self._headers(response)
        length = response.fields.get(b"content-length")
        if length is not None:
            headers.append((b"content-length", length))
        first = await response.receive()
        if not first and self.attempts.call.method != b"HEAD" and length is None:
            await self.exchange.answer(response.status, headers, b"")
            return
        self._learn_made(response, first)
        self.exchange.start_body(response.status, headers)
        await deliver_body(self.exchange, response, first)

    def _learn_made(self, response: Response, first: bytes) -> None:
        call = self.attempts.call
        if call.endpoint.stored is None or call.method != b"POST":
            return
        content_type = response.fields.get(b"content-type", b"")
        made = id_in_answer(first) if content_type.startswith(b"application/json") else None
        if made is not None:
            self.services.affinity.learn(made, self.candidate.id)

    def _headers(self, response: Response) -> list[tuple[bytes, bytes]]:
        fields = header_fields.to_client(response.headers)
        if self.exchange.record.dropped:
            fields.append((b"x-relay-dropped", ", ".join(self.exchange.record.dropped).encode("latin-1", "replace")))
        return fields


def _readable(response: Response) -> Response:
    """Return the response with its body inflated: `identity` was asked for, but not everybody listens."""
    encoding = response.fields.get(b"content-encoding")
    if encoding is None or encoding.lower() in {b"identity", b""}:
        return response
    return DecodedResponse(response, encoding)


def _raise_error_inside(answer: Answer, body: bytes) -> None:
    """A stream was asked for and one body came: if it tells an error, that is the failure to report."""
    try:
        answer.whole(body)
    except AnswerFailed as failed:
        if failed.failure.kind is not FailureKind.BROKEN_ANSWER:
            raise


async def read_failure(response: Response, adaptor: Adaptor, clock: PhaseClock) -> UpstreamAnswered:
    """Read an error answer under its limits, close it, and return what it means. A 429 stays a 429, however it breaks."""
    clock.enter("error_body")
    body, state = b"", BodyState.UNREADABLE
    try:
        body, state = await _read_bounded(_readable(response))
    except AnswerBroken:
        pass  # compressed in an unknown way: the status says enough
    finally:
        await response.aclose()
    headers = tuple(response.headers)
    return UpstreamAnswered(adaptor.failure(response.status, headers, body, state), headers=headers)


async def _read_bounded(response: Response) -> tuple[bytes, BodyState]:
    """Read what there is of a body, at most so much and so long; say how far it went. Raises nothing but Cancelled."""
    pieces: list[bytes] = []
    size = 0
    state = BodyState.TOO_SLOW
    with trio.move_on_after(ERROR_BODY_S):
        try:
            while size <= ERROR_BODY_MAX_BYTES:
                piece = await response.receive()
                if not piece:
                    state = BodyState.WHOLE if size else BodyState.EMPTY
                    break
                size += len(piece)
                pieces.append(piece)
            else:
                state = BodyState.TOO_LARGE
        except AnswerBroken:
            state = BodyState.UNREADABLE
        except UpstreamFailed:
            state = BodyState.TRUNCATED
    return b"".join(pieces)[:ERROR_BODY_MAX_BYTES], state
