"""The frame around every request: a scope around it, one door for its errors, one line in the log.

    async with RequestScope(...):        nursery + deadline; the client's leaving cancels it
        try:     work(exchange)          the one thing that the request is for
        except:  exchange.fail(...)      still inside the scope, shielded for at most five seconds
    log line, metrics                    also for what was cancelled

Whatever the work is (relaying, a model list, a path that does not exist), nothing of it escapes but Cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from adaptors.protocol import Dialect
from adaptors.values import Header
from relay_trio.errors import Ended, RelayError, UpstreamAnswered
from relay_trio.relay import headers as header_fields
from relay_trio.relay.exchange import ClientRequest, Exchange
from relay_trio.relay.record import Record
from relay_trio.relay.report import CLIENT_LEFT_STATUS, explain
from relay_trio.relay.services import RelayServices
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.scopes.shielded import shielded
from relay_trio.settings.model import Settings

Work = Callable[[Exchange], Awaitable[None]]

_TELLING_S = 3.0
"""What a client that stalls gets of the clean-up's five seconds; the connection's own end takes the rest."""
_MIN_CLIENT_TOTAL_S = 0.001


@attrs.frozen(eq=False)
class Pipeline:
    """Runs requests. One for each process."""

    services: RelayServices

    async def run(
        self, request: ClientRequest, dialect: Dialect, work: Work, *, name: str, quiet: bool = False
    ) -> None:
        """Run one request from its head to its log line. `quiet` requests (monitoring) are logged at debug level.

        Raises nothing but Cancelled, and that only when the server itself is cancelled.
        """
        services = self.services
        catalog = services.catalog.current
        settings = catalog.settings
        given_id = header_fields.sane_request_id(request.fields.get(b"x-request-id"))
        total = _total(catalog.total, request.fields.get(b"x-relay-timeout"))
        scope = RequestScope(services.registry, given_id or services.new_request_id(), total, name)
        scope.method, scope.path = request.method, request.path
        record = Record(scope, request.method, request.path, request.client, dialect.name)
        exchange = Exchange(
            request,
            record,
            dialect,
            extra_headers=_extra_headers(settings, request, dialect, scope.id),
            clean=services.clean,
            body=catalog.body,
        )
        request.side.on_disconnect(lambda: scope.cancel(Ended.CLIENT_DISCONNECTED))
        try:
            async with scope:
                try:
                    await work(exchange)
                except BaseException as error:  # noqa: ASYNC103 - re-raised below, unless it is an Exception
                    await self._fail(exchange, error)  # noqa: ASYNC102 - it shields itself, within its bound
                    if not isinstance(error, Exception):
                        raise  # the scope takes the cancellation that is its own
                finally:
                    services.pacemaker.forget(exchange)
                    scope.cancel_helpers_at_end()
        finally:
            self._account(record, quiet=quiet)

    async def _fail(self, exchange: Exchange, error: BaseException) -> None:
        """Say what it was, tell the client as far as it can be told, and note it. The one error door."""
        failure = explain(error, exchange.scope)
        record = exchange.record
        record.outcome = failure.outcome
        record.ended_with = failure.code
        if failure.setting is not None:
            record.setting, record.phase = failure.setting, failure.phase
        if isinstance(failure, UpstreamAnswered):
            record.ended_with = failure.word
        if failure.outcome is Ended.INTERNAL_ERROR:
            self.services.log.error(
                "request_crashed", request_id=exchange.scope.id, exc_info=exchange.scope.crash or error
            )
        if failure.outcome is Ended.CLIENT_DISCONNECTED:
            record.status = CLIENT_LEFT_STATUS
            return
        with shielded(_TELLING_S):
            try:
                await exchange.fail(failure)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, RelayError):
                record.status = record.status or CLIENT_LEFT_STATUS  # it could not be told any more

    def _account(self, record: Record, *, quiet: bool) -> None:
        services = self.services
        record.finish()
        if services.drain.ending and not quiet:
            if record.outcome is Ended.DRAINED:
                services.drain.cut += 1
            elif record.outcome is not Ended.REJECTED:
                services.drain.finished += 1
        services.meter.request_finished(record)
        services.log.line("debug" if quiet else "info", record.fields())


def _total(total: Limit, wanted: bytes | None) -> Limit:
    """Return the deadline: the operator's, or a shorter one that the client asks for."""
    asked = header_fields.positive_number(wanted)
    if asked is None or asked >= total.seconds:
        return total
    return Limit(max(asked, _MIN_CLIENT_TOTAL_S), "X-Relay-Timeout")


def _extra_headers(settings: Settings, request: ClientRequest, dialect: Dialect, request_id: str) -> list[Header]:
    """Return what every answer to this request carries beside its own fields."""
    extra: list[Header] = [(b"x-request-id", request_id.encode("ascii"))]
    if dialect.name == "anthropic":
        extra.append((b"request-id", request_id.encode("ascii")))  # where that SDK reads it
    if settings.cors_origins:
        extra += cors_headers(settings.cors_origins, request.fields.get(b"origin"))
    return extra


def cors_headers(allowed: tuple[str, ...], origin: bytes | None) -> list[Header]:
    """Return what lets a page of this origin read the answer (the Fetch standard, 3.2)."""
    if origin is None:
        return []
    if "*" not in allowed and origin.decode("latin-1") not in allowed:
        return []
    allow = b"*" if "*" in allowed else origin
    return [
        (b"access-control-allow-origin", allow),
        (b"access-control-expose-headers", b"*"),
        *([] if allow == b"*" else [(b"vary", b"origin")]),
    ]
