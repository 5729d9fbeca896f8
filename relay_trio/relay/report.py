"""From a failure to what a client is told: the one place where our errors take the shape that dialects write.

Our own failures speak listed texts only. A provider's message passes, cleaned of our keys. The cause is for the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from adaptors.failure import AnswerFailed, Failure, FailureKind
from adaptors.protocol import ErrorReport
from adaptors.values import Header
from relay_trio.errors import (
    Draining,
    Ended,
    LimitReached,
    MethodNotAllowed,
    RelayError,
    ScopeCancelled,
    UpstreamAnswered,
    UpstreamFailed,
)
from relay_trio.relay.headers import advice, value
from relay_trio.scopes.phase import limit_reached
from relay_trio.scopes.request_scope import RequestScope

MAX_OWN_RETRY_AFTER_S = 60.0
"""The SDKs sleep as told; ours is never longer than they bear."""

CLIENT_LEFT_STATUS = 499
"""nginx's number for a client that left: in the log only, nobody is there to read it."""

_TYPES: dict[FailureKind, str] = {
    FailureKind.BAD_REQUEST: "invalid_request_error",
    FailureKind.UNAUTHORIZED: "api_error",
    FailureKind.FORBIDDEN: "permission_error",
    FailureKind.NOT_FOUND: "not_found_error",
    FailureKind.TIMEOUT: "timeout_error",
    FailureKind.CONFLICT: "conflict_error",
    FailureKind.TOO_LARGE: "request_too_large",
    FailureKind.RATE_LIMITED: "rate_limit_error",
    FailureKind.QUOTA_EXHAUSTED: "insufficient_quota",
    FailureKind.OVERLOADED: "overloaded_error",
    FailureKind.SERVER_ERROR: "api_error",
    FailureKind.BROKEN_ANSWER: "api_error",
}

_CRASHED = "The relay itself failed; its log says how, under this request's id."

_CANCELLED: dict[Ended, tuple[str, int, str]] = {
    Ended.CLIENT_DISCONNECTED: ("The client left before its answer was complete.", CLIENT_LEFT_STATUS, "client_left"),
    Ended.CANCELLED_BY_OPERATOR: ("An operator of the relay ended this request.", 503, "cancelled_by_operator"),
    Ended.DRAINED: ("The relay is going down and could wait no longer for this answer.", 503, "relay_drained"),
}


def explain(error: BaseException, scope: RequestScope) -> RelayError:
    """Return what a failure was, whatever was raised: the reason of a cancellation, the clock behind a deadline."""
    if isinstance(error, UpstreamFailed) and scope.cancelled_for is not None:
        return _cancelled(scope.cancelled_for)  # its connection was closed under it
    if isinstance(error, RelayError):
        return error
    if isinstance(error, AnswerFailed):
        return UpstreamAnswered(error.failure, phase=scope.clock.current)
    if scope.crash is not None:
        return scope.crash if isinstance(scope.crash, RelayError) else RelayError(_CRASHED)
    if scope.cancelled_for is not None:
        return _cancelled(scope.cancelled_for)
    if is_cancellation(error):
        if scope.time_left <= 0:
            return limit_reached(scope.clock.current, scope.total)
        return _cancelled(Ended.DRAINED)
    if isinstance(error, OSError | trio.BrokenResourceError | trio.ClosedResourceError):
        return _cancelled(Ended.CLIENT_DISCONNECTED)  # the upstream's side translates its own
    return RelayError(_CRASHED)


def is_cancellation(error: BaseException) -> bool:
    """Say whether this is a cancellation, alone or in a group: one that came out of a nursery, as trio's connect has one."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


def _cancelled(reason: Ended) -> ScopeCancelled:
    message, status, code = _CANCELLED[reason]
    return ScopeCancelled(message, outcome=reason, status=status, code=code)


@attrs.frozen
class Told:
    """What a client is told: the report for its dialect, and the headers beside it."""

    report: ErrorReport
    headers: list[Header]


def tell(error: RelayError, request_id: str, clean: Callable[[str], str], error_format: str) -> Told:
    """Return what a client whose errors have this format is told.

    `clean` takes our keys out of a provider's words.
    """
    if isinstance(error, UpstreamAnswered):
        return _tell_upstream(error, request_id, clean, error_format)
    headers: list[Header] = []
    retry_after = error.retry_after
    if retry_after is not None:
        retry_after = max(1.0, min(retry_after, MAX_OWN_RETRY_AFTER_S))
        headers.append((b"retry-after", b"%d" % round(retry_after)))
    if isinstance(error, LimitReached):
        headers.append((b"x-should-retry", b"false"))  # else the SDKs ask three times for a whole deadline
    if isinstance(error, Draining):
        headers.append((b"connection", b"close"))  # the next request shall find another relay
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    report = ErrorReport(
        status=error.status,
        kind=error.type,
        code=error.code,
        message=error.message,
        param=error.param,
        phase=error.phase,
        limit_s=error.limit_s,
        setting=error.setting,
        request_id=request_id,
        retry_after=retry_after,
    )
    return Told(report, headers)


def _tell_upstream(error: UpstreamAnswered, request_id: str, clean: Callable[[str], str], error_format: str) -> Told:
    failure = error.failure
    if failure.kind is FailureKind.UNAUTHORIZED:
        failure = _OUR_KEY_REFUSED
    elif failure.format != error_format:
        failure = _in_general_words(failure)
    report = ErrorReport(
        status=failure.status,
        kind=failure.type or _TYPES[failure.kind],
        code=failure.code,
        message=clean(failure.message),
        param=failure.param,
        request_id=request_id,
        retry_after=failure.retry_after,
        raw=None if failure.raw is None else clean(failure.raw.decode("utf-8", "replace")).encode(),
    )
    headers = advice(error.headers)
    if failure.retry_after is not None and value(headers, b"retry-after") is None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(failure.retry_after))))  # it stood in the body
    return Told(report, headers)


_SITE_IS_OVERLOADED = 529
"""Anthropic's own status; a client of another format is told the standard one, and the original as the code."""


def _in_general_words(failure: Failure) -> Failure:
    """Return the failure for a client of another format: without the provider's own object and type."""
    overloaded = failure.status == _SITE_IS_OVERLOADED
    return attrs.evolve(
        failure,
        status=503 if overloaded else failure.status,
        type=_TYPES[failure.kind],
        code=failure.code or failure.type or ("529" if overloaded else None),
        raw=None,
    )


_OUR_KEY_REFUSED = Failure(
    kind=FailureKind.SERVER_ERROR,
    status=502,
    message="The provider did not accept the relay's own key. Your key is right; the relay's operator has to act.",
    type="api_error",
    code="channel_unauthorized",
)
