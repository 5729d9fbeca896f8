"""What an error of the Anthropic API means (https://docs.claude.com/en/api/errors): a body, or an event in a stream.

The envelope is `{"type": "error", "error": {"type", "message"}, "request_id"}`. Inside a stream there is no status: the
type of the error says what it would have been.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from adaptors.failure import BodyState, Failure, FailureKind
from adaptors.values import Headers
from adaptors.wires.openai_errors import read_failure

_BY_TYPE: Final[Mapping[str, tuple[int, FailureKind]]] = MappingProxyType(
    {
        "invalid_request_error": (400, FailureKind.BAD_REQUEST),
        "authentication_error": (401, FailureKind.UNAUTHORIZED),
        "billing_error": (402, FailureKind.QUOTA_EXHAUSTED),
        "permission_error": (403, FailureKind.FORBIDDEN),
        "not_found_error": (404, FailureKind.NOT_FOUND),
        "request_too_large": (413, FailureKind.TOO_LARGE),
        "rate_limit_error": (429, FailureKind.RATE_LIMITED),
        "api_error": (500, FailureKind.SERVER_ERROR),
        "timeout_error": (504, FailureKind.TIMEOUT),
        "overloaded_error": (529, FailureKind.OVERLOADED),
    }
)

# The API says 400 where the account has no money left: "Your credit balance is too low to access the Anthropic API."
_NO_CREDIT = re.compile(r"\bcredit balance is too low\b", re.IGNORECASE)


def read_anthropic_failure(status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
    """Return what an error answer means. Never raises."""
    failure = attrs.evolve(read_failure(status, headers, body, state), format="anthropic")
    if failure.kind is FailureKind.BAD_REQUEST and _NO_CREDIT.search(failure.message):
        return attrs.evolve(failure, kind=FailureKind.QUOTA_EXHAUSTED)
    return failure


def as_anthropic(failure: Failure) -> Failure:
    """Return the failure that stood inside a 2xx answer, with the status and the meaning that its type has here."""
    status, kind = _BY_TYPE.get(failure.type or "", (failure.status, failure.kind))
    if failure.kind is FailureKind.BROKEN_ANSWER and failure.raw is None:
        return failure  # in our own words
    return attrs.evolve(failure, status=status, kind=kind, format="anthropic")
