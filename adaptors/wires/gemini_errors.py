"""What an error of the Gemini API means: `{"error": {"code", "message", "status", "details"}}`, sometimes in a list.

The wait that others tell in a header stands in the details (https://github.com/googleapis/googleapis,
google/rpc/error_details.proto): `{"@type": ".../google.rpc.RetryInfo", "retryDelay": "12s"}`.
"""

from __future__ import annotations

import re

import attrs

from adaptors.failure import BodyState, Failure, FailureKind
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.values import Headers
from adaptors.wires.openai_errors import read_failure

_DELAY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
_KEY_IS_WRONG = "API_KEY_INVALID"
"""The reason in the details of a 400 (google/api/error_reason.proto)."""


def read_gemini_failure(status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
    """Return what an error answer means. Never raises."""
    return as_gemini(read_failure(status, headers, body, state), body)


def as_gemini(failure: Failure, body: bytes) -> Failure:
    """Return the failure with what this API says in places of its own."""
    error = _error(body)
    if error is None:
        return failure
    word = error.get("status")
    details = [item for item in error.get("details") or () if isinstance(item, dict)]
    delays = (item.get("retryDelay") for item in details)
    delay = next((found for value in delays if isinstance(value, str) and (found := _DELAY.fullmatch(value))), None)
    refused = any(item.get("reason") == _KEY_IS_WRONG for item in details)
    return attrs.evolve(
        failure,
        kind=FailureKind.UNAUTHORIZED if refused else failure.kind,
        type=word if isinstance(word, str) else None,
        code=word if isinstance(word, str) else failure.code,  # its own `code` is the status once more
        retry_after=float(delay[1]) if failure.retry_after is None and delay else failure.retry_after,
        format="gemini",
    )


def _error(body: bytes) -> dict[str, Json] | None:
    try:
        document = decoded(body)
    except NotJSON:
        return None
    while isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("details", []), list | None):
        return None
    return error
