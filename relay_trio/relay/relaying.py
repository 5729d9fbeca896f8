"""Relaying: key, slot, body, and then attempts until one answers or none is left.

This is the story of one call, told in the order in which it happens; each step is a module of its own.
"""

from __future__ import annotations

import attrs
import trio

from adaptors.bodies import BadBody, Peeked, peek
from adaptors.endpoints import body_kind, stored_id, wire_of
from adaptors.failure import AnswerFailed, FailureKind
from adaptors.gemini_paths import asked_by_path
from adaptors.values import BodyKind, Call, Endpoint
from relay_trio.accounts.keys import Key, presented_key
from relay_trio.channels.catalog import Catalog
from relay_trio.channels.channel import Channel
from relay_trio.channels.selection import Candidate, candidates
from relay_trio.errors import BadRequest, Draining, ModelNotAllowed, NotSupported, RelayError, UpstreamAnswered
from relay_trio.relay import headers as header_fields
from relay_trio.relay.admission import Reservation
from relay_trio.relay.attempt import Attempt, Attempts
from relay_trio.relay.exchange import Exchange
from relay_trio.relay.fallback import GiveUp, Situation, next_step
from relay_trio.relay.preparing import Preparation
from relay_trio.relay.report import explain
from relay_trio.relay.services import RelayServices
from relay_trio.settings.model import Settings
from relay_trio.upstream.transport import Upload

_DRAIN_RETRY_AFTER_S = 1.0
_METHODS_THAT_LOOK = frozenset({b"GET", b"DELETE"})


def identify(services: RelayServices, exchange: Exchange) -> tuple[Key, bytes]:
    """Return whose request this is, and its query without any key. Raises Unauthorized, Draining."""
    if services.drain.draining:
        raise Draining("The relay is going down; another one takes over.", retry_after=_DRAIN_RETRY_AFTER_S)
    request = exchange.request
    presented, query = presented_key(request.headers, request.query)
    keys = services.catalog.current.keys
    key = keys.find(presented, now_s=services.utc_now(), client_ip=request.client)
    exchange.record.key = exchange.scope.key = key.name
    return key, query


@attrs.frozen(eq=False)
class Relaying:
    """Relays one call. `path` is below the version prefix, as the client wrote it."""

    services: RelayServices
    endpoint: Endpoint
    path: bytes

    async def __call__(self, exchange: Exchange) -> None:
        """Answer the exchange, or raise what it fails of."""
        if exchange.request.fields.get(b"upgrade", b"").lower() == b"websocket":
            raise NotSupported("WebSocket is not offered here yet; use HTTP streaming.")
        exchange.record.endpoint = self.endpoint.name
        key, query = identify(self.services, exchange)
        admission = self.services.admission
        await admission.take(key.name, key.concurrency, exchange.scope.clock)
        try:
            catalog = self.services.catalog.current
            with self.services.budget.reservation() as reservation:
                attempts, order = await self._ready(exchange, key, query, reservation, catalog)
                await self._try(exchange, order, attempts, catalog)
        finally:
            admission.give_back(key.name)

    async def _ready(
        self, exchange: Exchange, key: Key, query: bytes, reservation: Reservation, catalog: Catalog
    ) -> tuple[Attempts, tuple[Candidate, ...]]:
        """Read what is asked for; return what the attempts need, and who may serve it in the order of trying."""
        call, peeked, upload = await self._read_call(exchange, query, reservation, catalog)
        record = exchange.record
        record.model, record.stream = call.model, call.stream
        if call.stream and wire_of(call.endpoint, stream=True) is not None:
            exchange.streaming = True
            self.services.pacemaker.watch(exchange, catalog.settings)
        order, looking = self._candidates(call, peeked, key, catalog, exchange.scope.clock.now())
        preparation = Preparation(self.services, exchange.scope.clock, reservation)
        attempts = Attempts(call, reservation, upload, looking, preparation)
        exchange.on_content = attempts.no_more
        return attempts, order

    # The body

    async def _read_call(
        self, exchange: Exchange, query: bytes, reservation: Reservation, catalog: Catalog
    ) -> tuple[Call, Peeked, Upload | None]:
        """Read the body, or prepare to stream it up, and say what is asked for. Raises BadRequest and its kin."""
        request, settings = exchange.request, catalog.settings
        content_type = request.fields.get(b"content-type", b"")
        body: bytes | None = None
        upload: Upload | None = None
        peeked = Peeked()
        if body_kind(self.endpoint, content_type) is BodyKind.UPLOAD:
            upload = Upload(exchange.uploader(settings.max_upload_bytes), exchange.announced_length())
        else:
            body = await exchange.read_whole(settings.max_body_bytes, reservation)
            try:
                peeked = peek(self.endpoint, content_type, body, query)
            except BadBody as error:
                raise _bad_request(error) from error
        model, stream = asked_by_path(self.path) if self.endpoint.model_in_path else (peeked.model, peeked.stream)
        call = Call(
            endpoint=self.endpoint,
            dialect=exchange.dialect.name,
            method=request.method.encode("ascii"),
            path=self.path,
            query=query,
            headers=header_fields.to_upstream(request.headers),
            body=body,
            model=model,
            stream=stream,
            include_usage=peeked.include_usage,
            created=int(self.services.utc_now()),
        )
        return call, peeked, upload

    # Where it goes

    def _candidates(
        self, call: Call, peeked: Peeked, key: Key, catalog: Catalog, now: float
    ) -> tuple[tuple[Candidate, ...], bool]:
        """Return who may serve the call, in the order of trying, and whether an object is being looked for."""
        channels = _serving(call, key, catalog)
        services = self.services
        order = candidates(channels, services.health, now, services.chance)
        addressed = None if self.endpoint.stored is None else stored_id(self.endpoint, self.path)
        ids = (*peeked.references, *(() if addressed is None else (addressed,)))
        if ids:
            maker = services.affinity.maker_of(ids)
            made = tuple(candidate for candidate in order if candidate.id == maker)
            if made:
                return made, False
        if addressed is not None and (call.method in _METHODS_THAT_LOOK or self.endpoint.name.endswith(".cancel")):
            return order, True
        return (order if call.model is not None else _of_one_channel(order, catalog)), False

    # The attempts

    async def _try(
        self, exchange: Exchange, order: tuple[Candidate, ...], attempts: Attempts, catalog: Catalog
    ) -> None:
        services, record = self.services, exchange.record
        rest = order
        while True:
            candidate, rest = rest[0], rest[1:]
            record.attempts += 1
            record.channel = exchange.scope.channel = candidate.channel.name
            exchange.scope.attempt = record.attempts
            try:
                await Attempt(services, exchange, candidate, attempts).run()
            except (RelayError, AnswerFailed) as error:
                # A bare raise, and no name for what is raised: its traceback holds this frame, and the two would hold
                # each other, and the whole request, until the collector comes. The error door explains it once more.
                if exchange.scope.cancelled_for is not None:
                    raise
                situation = _situation(exchange, attempts, catalog.settings)
                step = self._after(explain(error, exchange.scope), exchange, candidate, rest, situation)
                if isinstance(step, GiveUp):
                    raise
                exchange.drop_held()
                rest = step
            else:
                services.health.succeeded(candidate.id)
                services.meter.attempt_finished(candidate.channel.name, "ok")
                return

    def _after(
        self,
        failure: RelayError,
        exchange: Exchange,
        candidate: Candidate,
        rest: tuple[Candidate, ...],
        situation: Situation,
    ) -> GiveUp | tuple[Candidate, ...]:
        """Note and log a failed attempt; return who is to be tried next, or why nobody is."""
        step = next_step(failure, candidate, rest, situation)
        self._note(failure, candidate)
        self._log(exchange, failure, candidate, step)
        return step

    def _note(self, failure: RelayError, candidate: Candidate) -> None:
        """Remember how the key fared: what the client did wrong is no fault of it."""
        now = trio.current_time()
        health = self.services.health
        if isinstance(failure, UpstreamAnswered):
            kind = failure.failure.kind
            if kind is FailureKind.UNAUTHORIZED:
                health.refused(candidate.id, now)
                self.services.log.warning(
                    "key_set_aside",
                    channel=candidate.channel.name,
                    key_number=candidate.key.number,
                    upstream_status=failure.upstream_status,
                )
            if failure.retry_after is not None:
                health.asked_to_wait(candidate.id, now, failure.retry_after)
        if failure.blames_upstream:
            health.failed(candidate.id)

    def _log(
        self, exchange: Exchange, failure: RelayError, candidate: Candidate, step: GiveUp | tuple[Candidate, ...]
    ) -> None:
        answered = failure if isinstance(failure, UpstreamAnswered) else None
        channel = candidate.channel.name
        phase = failure.phase or exchange.scope.clock.current
        self.services.meter.attempt_finished(channel, phase)
        fields: dict[str, object] = {
            "event": "attempt_failed",
            "request_id": exchange.scope.id,
            "attempt": exchange.record.attempts,
            "channel": channel,
            "key_number": candidate.key.number,
            "phase": phase,
            "upstream_status": None if answered is None else answered.upstream_status,
            "why": failure.message if answered is None else answered.sentence,
            "cause": None if failure.__cause__ is None else repr(failure.__cause__),
            "next": f"none: {step.value}" if isinstance(step, GiveUp) else f"channel {step[0].channel.name}",
        }
        self.services.log.line("warning", fields)


def _situation(exchange: Exchange, attempts: Attempts, settings: Settings) -> Situation:
    return Situation(
        content_sent=exchange.content_sent or exchange.finished,
        repeatable=attempts.upload is None,
        attempts_made=exchange.record.attempts,
        max_attempts=settings.max_attempts,
        time_left_s=exchange.scope.time_left,
        retry_min_left_s=settings.retry_min_left,
        looking_for_object=attempts.looking,
    )


def _serving(call: Call, key: Key, catalog: Catalog) -> tuple[Channel, ...]:
    """Return the channels that may serve the call. Raises ModelNotAllowed."""
    model = call.model
    if model is not None and not key.allows(model):
        raise _no_such_model(model)
    channels = catalog.serving(model, key.group, call.dialect, call.endpoint.name)
    if channels:
        return channels
    if model is not None:
        raise _no_such_model(model)
    raise ModelNotAllowed("No provider serves this path to your key.", code="no_channel")


def _bad_request(error: BadBody) -> BadRequest:
    return BadRequest(error.message, param=error.param, code=error.code)


def _no_such_model(model: str) -> ModelNotAllowed:
    return ModelNotAllowed(f"The model `{model}` does not exist here or your key may not use it.", param="model")


def _of_one_channel(order: tuple[Candidate, ...], catalog: Catalog) -> tuple[Candidate, ...]:
    """Return the candidates for a path that names no model: the channel that the settings name, or the first one."""
    named = catalog.settings.default_channel
    serving = {candidate.channel.name for candidate in order}
    first = next(
        (channel.name for channel in catalog.channels if channel.name in serving and named in {None, channel.name}),
        order[0].channel.name,
    )
    return tuple(candidate for candidate in order if candidate.channel.name == first)
