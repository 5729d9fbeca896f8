"""What clients of the OpenAI API are told besides content: errors, in the body or in the stream, and model lists.

The forms were tried against the official SDKs (openai-python 3.52, openai-node 6.49): a chat stream raises on a `data:`
event with an `error` member; a Responses stream yields a flat `event: error` as if it were content and raises only when
the event also holds a nested `error`; both skip comments, and both trip over `event: ping`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adaptors.jsonbytes import Json, encoded
from adaptors.protocol import Dialect, ErrorReport
from adaptors.values import Endpoint

_OURS = ("phase", "limit_s", "setting", "request_id")


def _error(report: ErrorReport) -> Json:
    error: Json = {"message": report.message, "type": report.kind, "param": report.param, "code": report.code}
    for name in _OURS:
        value = getattr(report, name)
        if value is not None:
            error[name] = value
    return error


def _error_object(report: ErrorReport) -> bytes:
    """Return the error as one line of JSON: the provider's own words, where it is the provider's error.

    A line end inside a JSON text is white space between its tokens: inside a string it would be escaped.
    """
    if report.raw is None:
        return encoded(_error(report))
    return report.raw.replace(b"\r", b" ").replace(b"\n", b" ")


def _envelope(error: bytes) -> bytes:
    return b'{"error":' + error + b"}"


def _model(name: str, created: int) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": "relay"}


class OpenAIChatDialect:
    """Clients of `/chat/completions`, and of every other path of the OpenAI API but `/responses`."""

    name = "openai_chat"
    error_format = "openai"
    error_content_type = b"application/json"
    stream_content_type = b"text/event-stream; charset=utf-8"

    def error_body(self, report: ErrorReport) -> bytes:
        """Return `{"error": {...}}`; a provider's own error object goes into it unchanged."""
        return _envelope(encoded(_error(report)) if report.raw is None else report.raw)

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:  # noqa: ARG002 - chat events have no number
        """Return the `data:` event on which the SDKs raise."""
        return b"data: " + _envelope(_error_object(report)) + b"\n\n"

    def keepalive(self, *, content_seen: bool) -> bytes:  # noqa: ARG002 - a comment is right at any time
        """Return a comment, which every SDK skips."""
        return b": keep-alive\n\n"

    def models_body(self, names: tuple[str, ...], created: int) -> bytes:
        """Return the list as `GET /v1/models` gives it; `created` is in seconds since 1970."""
        return encoded({"object": "list", "data": [_model(name, created) for name in names]})

    def model_body(self, name: str, created: int) -> bytes:
        """Return the model as `GET /v1/models/{id}` gives it."""
        return encoded(_model(name, created))


class OpenAIResponsesDialect(OpenAIChatDialect):
    """Clients of `/responses`: the same errors and comments, another form of the error in a stream."""

    name = "openai_responses"

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:
        """Return an `event: error` with the flat fields of the API and the nested form on which the SDKs raise."""
        flat = {
            "type": "error",
            "sequence_number": sequence,
            "code": report.code,
            "message": report.message,
            "param": report.param,
        }
        nested = b',"error":' + _error_object(report) + b"}"
        return b"event: error\ndata: " + encoded(flat)[:-1] + nested + b"\n\n"


CHAT: Final[Dialect] = OpenAIChatDialect()
RESPONSES: Final[Dialect] = OpenAIResponsesDialect()

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in (CHAT, RESPONSES)})


def dialect_of(endpoint: Endpoint) -> Dialect:
    """Return the dialect that the clients of this path of the OpenAI API speak."""
    return RESPONSES if endpoint.wire == RESPONSES.name else CHAT
