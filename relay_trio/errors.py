"""Every failure that the relay itself knows, in one tree.

    RelayError                      status, code, type; what a client may be told, in listed words only
    ├── BadRequest                  400  and its kin: the client's own doing
    │   ├── CallNotExpressible      400  this provider cannot do what is asked for
    │   ├── Unauthorized            401
    │   ├── ModelNotAllowed         403, 404
    │   ├── UnknownPath             404
    │   ├── MethodNotAllowed        405
    │   ├── BodyTooSlow             408
    │   ├── BodyTooLarge            413
    │   └── KeyLimitReached         429
    ├── Overloaded                  503  full, or timed out in the queue
    │   └── Draining                503
    ├── NotSupported                501
    ├── UpstreamFailed              502  could not connect, or the connection broke
    │   └── AnswerBroken            502  an answer that is no answer
    ├── LimitReached                504  one of the clocks fired
    ├── UpstreamAnswered            the provider's own status: an error answer, read and cleaned
    └── ScopeCancelled              the request was ended from outside: the client left, an operator, the drain

The texts here are the listed texts: nothing of an exception's cause, of a key, of a prompt or of a channel's name ever
enters them. The cause goes to the log, by `raise ... from`.
"""

from __future__ import annotations

import enum
import re

from adaptors.failure import Failure, FailureKind
from adaptors.values import Headers


class Ended(enum.StrEnum):
    """Why a request ended: the `outcome` of its log line, and the reason of a cancelled scope."""

    COMPLETED = "completed"
    UPSTREAM_ERROR = "upstream_error"
    CLIENT_DISCONNECTED = "client_disconnected"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED_BY_OPERATOR = "cancelled_by_operator"
    DRAINED = "drained"
    REJECTED = "rejected"
    INTERNAL_ERROR = "internal_error"


class RelayError(Exception):
    """A failure of the relay. The class says what kind; the instance says which."""

    status = 500
    type = "api_error"
    code: str | None = "internal_error"
    outcome = Ended.INTERNAL_ERROR
    retryable = False
    """Another attempt, on another key or channel, may succeed."""
    blames_upstream = False
    """The provider is at fault: it counts against the health of the channel's key."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the word of the error format
        param: str | None = None,
        phase: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code
        if type is not None:
            self.type = type
        self.param = param
        self.phase = phase
        self.retry_after = retry_after
        self.limit_s: float | None = None
        self.setting: str | None = None
        """With `limit_s` and `phase`: the clock that fired, if one did."""


class BadRequest(RelayError):
    """The client's own doing; the request never reached a provider."""

    status = 400
    type = "invalid_request_error"
    code = "bad_request"
    outcome = Ended.REJECTED


class CallNotExpressible(BadRequest):
    """What is asked for cannot be said to this channel's provider; another one may understand it."""

    code = "unsupported_parameter"
    retryable = True


class Unauthorized(BadRequest):
    """No key, or one that is not (or no longer) ours."""

    status = 401
    code = "invalid_api_key"


class ModelNotAllowed(BadRequest):
    """No channel serves this model to this key."""

    status = 404
    code = "model_not_found"


class UnknownPath(BadRequest):
    """No such path."""

    status = 404
    code = "unknown_path"


class MethodNotAllowed(BadRequest):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooSlow(BadRequest):
    """The client's body did not arrive within its clock."""

    status = 408
    code = "request_body_timeout"


class BodyTooLarge(BadRequest):
    """The client's body is over the limit."""

    status = 413
    code = "request_too_large"


class KeyLimitReached(BadRequest):
    """The key's own concurrency is used up."""

    status = 429
    type = "rate_limit_error"
    code = "key_concurrency_reached"


class Overloaded(RelayError):
    """The relay is full, or the queue's clock ran out."""

    status = 503
    type = "overloaded_error"
    code = "relay_overloaded"
    outcome = Ended.REJECTED


class Draining(Overloaded):
    """The relay is going down and takes no new requests."""

    code = "relay_draining"


class NotSupported(RelayError):
    """Understood, but not offered."""

    status = 501
    type = "invalid_request_error"
    code = "not_supported"
    outcome = Ended.REJECTED


class UpstreamFailed(RelayError):
    """The provider could not be reached, or its connection broke. `phase` says where."""

    status = 502
    code = "upstream_failed"
    outcome = Ended.UPSTREAM_ERROR
    retryable = True
    blames_upstream = True


class AnswerBroken(UpstreamFailed):
    """The provider's answer is no answer: cut off, garbage, not what was asked for."""

    code = "upstream_answer_broken"


class LimitReached(RelayError):
    """One of the clocks fired; names the phase, the limit in seconds and the setting."""

    status = 504
    type = "timeout_error"
    outcome = Ended.DEADLINE_EXCEEDED
    retryable = True


_FAULTS_OF_UPSTREAM = frozenset(
    {
        FailureKind.UNAUTHORIZED,
        FailureKind.TIMEOUT,
        FailureKind.RATE_LIMITED,
        FailureKind.QUOTA_EXHAUSTED,
        FailureKind.OVERLOADED,
        FailureKind.SERVER_ERROR,
        FailureKind.BROKEN_ANSWER,
    }
)
"""What the client asked for is no fault of the provider's: a 400, a context that is too long, a filter."""


class UpstreamAnswered(RelayError):
    """The provider answered with an error; `failure` is what its adaptor made of it."""

    outcome = Ended.UPSTREAM_ERROR

    def __init__(self, failure: Failure, *, headers: Headers = (), phase: str = "headers") -> None:
        super().__init__(failure.message, status=failure.status, retry_after=failure.retry_after, phase=phase)
        self.failure = failure
        self.headers = headers
        self.upstream_status = failure.status
        self.blames_upstream = failure.kind in _FAULTS_OF_UPSTREAM

    @property
    def word(self) -> str:
        """The failure in one word, for logs: the provider's code, if it is no more than a word, else the kind."""
        code = self.failure.code
        return code if code is not None and _WORD.fullmatch(code) else self.failure.kind.value

    @property
    def sentence(self) -> str:
        """The failure in a sentence of ours, for logs: a provider's own words may repeat the prompt."""
        return self.message if self.failure.ours else f"The provider answered with an error ({self.word})."


_WORD = re.compile(r"[A-Za-z0-9_.]{1,64}")


class ScopeCancelled(RelayError):
    """The request's scope was cancelled from outside for a reason that the client may be told."""

    def __init__(self, message: str, *, outcome: Ended, status: int, code: str) -> None:
        super().__init__(message, status=status, code=code)
        self.outcome = outcome
