"""Clients of the OpenAI API are told of errors in the forms that their SDKs raise on."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai_streams import HELLO, sdk_client
from openai_streams import sse as chat_stream

from adaptors.dialects.openai import CHAT, DIALECTS, RESPONSES, dialect_of
from adaptors.endpoints import ENDPOINTS
from adaptors.protocol import Dialect, ErrorReport

OURS = ErrorReport(
    status=504,
    kind="timeout_error",
    code="upstream_headers_timeout",
    message="No headers within 900 s.",
    phase="headers",
    limit_s=900.0,
    setting="RELAY_HEADER_TIMEOUT",
    request_id="req_1",
)
THEIRS = ErrorReport(429, "rate_limit_error", "c", "m", raw=b'{\n "message": "m",\r\n "code": 7, "extra": [1]}')
BOTH = pytest.mark.parametrize("dialect", [CHAT, RESPONSES])


@BOTH
def test_our_own_error_says_phase_limit_and_setting(dialect: Dialect) -> None:
    """Beside the four fields of the format; what does not apply is left out."""
    assert json.loads(dialect.error_body(OURS)) == {
        "error": {
            "message": "No headers within 900 s.",
            "type": "timeout_error",
            "param": None,
            "code": "upstream_headers_timeout",
            "phase": "headers",
            "limit_s": 900.0,
            "setting": "RELAY_HEADER_TIMEOUT",
            "request_id": "req_1",
        }
    }
    bare = json.loads(dialect.error_body(ErrorReport(400, "invalid_request_error", None, "m", param="model")))
    assert bare == {"error": {"message": "m", "type": "invalid_request_error", "param": "model", "code": None}}


@BOTH
def test_a_providers_error_object_passes_unchanged(dialect: Dialect) -> None:
    """Byte for byte in a body; in a stream on one line."""
    assert THEIRS.raw is not None
    assert dialect.error_body(THEIRS) == b'{"error":' + THEIRS.raw + b"}"
    event = dialect.error_event(THEIRS, 3)
    assert event.count(b"\n") == event.count(b"\ndata:") + 2
    assert json.loads(event[event.index(b"{") :])["error"] == json.loads(THEIRS.raw)


@pytest.mark.parametrize("report", [OURS, THEIRS])
def test_the_sdk_raises_on_the_error_event_of_a_chat_stream(report: ErrorReport) -> None:
    """After the content that came before it, and before what is missing."""
    stream = chat_stream(HELLO) + CHAT.keepalive(content_seen=True) + CHAT.error_event(report, 0)
    with sdk_client(stream) as client:
        chunks = client.chat.completions.create(model="m", messages=[], stream=True)
        assert next(chunks).choices[0].delta.content == "Hello"
        with pytest.raises(openai.APIError, match=report.message):
            next(chunks)


def test_the_sdk_raises_on_the_error_event_of_a_responses_stream() -> None:
    """Flat alone it would be taken for content: the event holds both forms, and the next number."""
    event = RESPONSES.error_event(OURS, 7)
    assert event.startswith(b"event: error\ndata: {")
    document = json.loads(event.partition(b"data: ")[2])
    assert {name: document[name] for name in ("type", "sequence_number", "code", "message", "param")} == {
        "type": "error", "sequence_number": 7, "code": OURS.code, "message": OURS.message, "param": None,
    }  # fmt: skip
    with sdk_client(RESPONSES.keepalive(content_seen=False) + event) as client:
        stream = client.responses.create(model="m", input="x", stream=True)
        with pytest.raises(openai.APIError, match=OURS.message):
            next(stream)


STATUSES: list[tuple[int, type[openai.APIStatusError]]] = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (404, openai.NotFoundError),
    (429, openai.RateLimitError),
    (503, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_the_sdk_raises_its_typed_errors_on_an_error_body(status: int, kind: type[openai.APIStatusError]) -> None:
    """With the message, the code and the fields of ours."""
    with sdk_client(CHAT.error_body(OURS), CHAT.error_content_type.decode(), status) as client:
        with pytest.raises(kind) as raised:
            client.models.list()
        body: Any = raised.value.body
        assert body["setting"] == "RELAY_HEADER_TIMEOUT"
        assert raised.value.code == OURS.code


@BOTH
def test_the_list_of_models_is_what_the_sdk_lists(dialect: Dialect) -> None:
    """Names in their order."""
    with sdk_client(dialect.models_body(("b", "a"), 1700000000), "application/json") as client:
        models = client.models.list().data
    assert [(model.id, model.created, model.owned_by) for model in models] == [
        ("b", 1700000000, "relay"),
        ("a", 1700000000, "relay"),
    ]


def test_each_path_has_its_dialect() -> None:
    """Responses speaks its own; every other path speaks as chat does."""
    assert DIALECTS == {"openai_chat": CHAT, "openai_responses": RESPONSES}
    assert {
        dialect_of(endpoint).name for endpoint in ENDPOINTS if endpoint.name in {"responses", "responses.stored"}
    } == {"openai_responses"}
    assert dialect_of(ENDPOINTS[0]) is CHAT
