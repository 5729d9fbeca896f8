"""What clients of the Anthropic API are told besides content: errors, in the body or in the stream, and model lists.

The forms are those of https://docs.claude.com/en/api/errors, and were tried against anthropic-python 2.11 and 0.70: an
`event: error` raises, also before `message_start`; `event: ping` is skipped if it has data; comments are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adaptors.jsonbytes import Json, encoded
from adaptors.protocol import Dialect, ErrorReport

_TYPE_BY_STATUS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
_TYPES: Final = frozenset(_TYPE_BY_STATUS.values()) | {"api_error"}
_CLIENT_ERRORS: Final = range(400, 500)

_OURS = ("code", "param", "phase", "limit_s", "setting")
"""Fields of our own errors beside the two of the format; the SDK hands them on in `error.body`."""


def _type(report: ErrorReport) -> str:
    """Return one of the API's own error types: by the status, which says more than a word of another format."""
    known = _TYPE_BY_STATUS.get(report.status)
    if known is not None:
        return known
    if report.kind in _TYPES:
        return report.kind
    return "invalid_request_error" if report.status in _CLIENT_ERRORS else "api_error"


def _error(report: ErrorReport) -> bytes:
    """Return the error object on one line: the provider's own, where it is the provider's error."""
    if report.raw is not None:
        return report.raw.replace(b"\r", b" ").replace(b"\n", b" ")
    error: Json = {"type": _type(report), "message": report.message}
    error |= {name: value for name in _OURS if (value := getattr(report, name)) is not None}
    return encoded(error)


def _envelope(report: ErrorReport) -> bytes:
    request_id = b"" if report.request_id is None else b',"request_id":' + encoded(report.request_id)
    return b'{"type":"error","error":' + _error(report) + request_id + b"}"


def _model(name: str, created: int) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": rfc_3339(created)}


def rfc_3339(seconds: int) -> str:
    """Return a time in seconds since 1970 as `2023-11-14T22:13:20Z`.

    The library's own way is in a module that also holds a clock. The days are counted in eras of 400 years that begin
    on a first of March, so that the leap day is the last of its year
    (https://howardhinnant.github.io/date_algorithms.html#civil_from_days).
    """
    days, second = divmod(seconds, 86_400)
    era, day_of_era = divmod(days + 719_468, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * from_march + 2) // 5 + 1
    month = from_march + 3 if from_march < _JANUARY_FROM_MARCH else from_march - 9
    year += era * 400 + (month <= _FEBRUARY)
    return f"{year:04}-{month:02}-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


_JANUARY_FROM_MARCH: Final = 10
_FEBRUARY: Final = 2


class AnthropicDialect:
    """Clients of `/messages` and of every other path of the Anthropic API."""

    name = "anthropic"
    error_format = "anthropic"
    error_content_type = b"application/json"
    stream_content_type = b"text/event-stream; charset=utf-8"

    def error_body(self, report: ErrorReport) -> bytes:
        """Return `{"type": "error", "error": {...}}`; a provider's own error object goes into it as it is."""
        return _envelope(report)

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:  # noqa: ARG002 - its events have no number
        """Return the `event: error` on which the SDKs raise."""
        return b"event: error\ndata: " + _envelope(report) + b"\n\n"

    def keepalive(self, *, content_seen: bool) -> bytes:
        """Return a ping, as the API itself sends it; before `message_start`, which comes first, only a comment."""
        return b'event: ping\ndata: {"type": "ping"}\n\n' if content_seen else b": keep-alive\n\n"

    def models_body(self, names: tuple[str, ...], created: int) -> bytes:
        """Return the list as `GET /v1/models` gives it, in one page; `created` is in seconds since 1970."""
        first, last = (names[0], names[-1]) if names else (None, None)
        data = [_model(name, created) for name in names]
        return encoded({"data": data, "has_more": False, "first_id": first, "last_id": last})

    def model_body(self, name: str, created: int) -> bytes:
        """Return the model as `GET /v1/models/{id}` gives it."""
        return encoded(_model(name, created))


ANTHROPIC: Final[Dialect] = AnthropicDialect()
