"""What clients of the Gemini API are told besides content: errors, in the body or in the stream, and model lists.

The forms were tried against google-genai 3.4: it takes each line that does not begin with `data: ` for JSON, comments too,
so that a bare line end is the only thing that keeps a stream awake; and it raises on an event whose first key is `error`,
but not where that stands in a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adaptors.jsonbytes import Json, encoded
from adaptors.protocol import Dialect, ErrorReport

# https://ai.google.dev/gemini-api/docs/troubleshooting; the words are those of google/rpc/code.proto
_WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        408: "DEADLINE_EXCEEDED",
        409: "ABORTED",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)
_CLASS_WORDS: Final = {4: "FAILED_PRECONDITION", 5: "UNAVAILABLE"}
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN: Final = "relay-trio"
_OURS = ("param", "phase", "limit_s", "setting", "request_id")


def _error(report: ErrorReport) -> bytes:
    """Return the error object on one line: the provider's own, where it is the provider's error."""
    if report.raw is not None:
        return report.raw.replace(b"\r", b" ").replace(b"\n", b" ")
    metadata = {name: str(value) for name in _OURS if (value := getattr(report, name)) is not None}
    reason = (report.code or report.kind).upper()
    info = {"@type": _ERROR_INFO, "reason": reason, "domain": _DOMAIN, "metadata": metadata}
    status = _WORDS.get(report.status) or _CLASS_WORDS.get(report.status // 100, "UNKNOWN")
    return encoded({"code": report.status, "message": report.message, "status": status, "details": [info]})


def _model(name: str) -> Json:
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


class GeminiDialect:
    """Clients of the Gemini API; streams are rows of events."""

    name = "gemini"
    error_format = "gemini"
    error_content_type = b"application/json; charset=UTF-8"
    stream_content_type = b"text/event-stream"

    def error_body(self, report: ErrorReport) -> bytes:
        """Return `{"error": {...}}`; a provider's own error object goes into it as it is."""
        return b'{"error":' + _error(report) + b"}"

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:  # noqa: ARG002 - its events have no number
        """Return the event on which the SDK raises."""
        return b"data: " + self.error_body(report) + b"\r\n\r\n"

    def keepalive(self, *, content_seen: bool) -> bytes:  # noqa: ARG002 - an empty line is right at any time
        """Return a bare line end."""
        return b"\n"

    def models_body(self, names: tuple[str, ...], created: int) -> bytes:  # noqa: ARG002 - its models have no date
        """Return the list as `GET /v1beta/models` gives it, in one page."""
        return encoded({"models": [_model(name) for name in names]})

    def model_body(self, name: str, created: int) -> bytes:  # noqa: ARG002 - its models have no date
        """Return the model as `GET /v1beta/models/{name}` gives it."""
        return encoded(_model(name))


class GeminiArrayDialect(GeminiDialect):
    """Clients that did not say `alt=sse`: a stream is one JSON array, and an error is its last element."""

    stream_content_type = b"application/json; charset=UTF-8"

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:
        """Return the last element and the end of the array; `sequence` is how many came before."""
        return (b"," if sequence else b"[") + self.error_body(report) + b"]"


GEMINI: Final[Dialect] = GeminiDialect()
GEMINI_ARRAY: Final[Dialect] = GeminiArrayDialect()
