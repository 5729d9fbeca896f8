"""An Anthropic request goes up as it came, but for address and key; errors mean what the API says they mean."""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest
from anthropic_streams import call
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import LIMIT

from adaptors.anthropic import Anthropic
from adaptors.anthropic_paths import ANTHROPIC_ENDPOINTS, ANTHROPIC_PATHS
from adaptors.dialects.anthropic import ANTHROPIC, rfc_3339
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.protocol import ErrorReport
from adaptors.registry import BUILT_IN
from adaptors.values import ProviderAccount
from adaptors.wires.anthropic_messages import CountedAnswer, MessagesAnswer
from adaptors.wires.openai_json import PassedOn

ADAPTOR = Anthropic()
ACCOUNT = ProviderAccount("https://api.example", "sk-up")
KEY = (b"x-api-key", b"sk-up")
IDENTITY = (b"accept-encoding", b"identity")
VERSION = (b"anthropic-version", b"2023-06-01")


def test_a_call_goes_up_as_it_came() -> None:
    """Path, query, the client's version and beta headers, and the body's very bytes; address and key are ours."""
    headers = ((b"anthropic-version", b"2026-10-21"), (b"anthropic-beta", b"x"), (b"content-length", b"9"))
    came = attrs.evolve(call(body=b'{ "model":"m" }'), headers=headers, query=b"beta=true")
    request = ADAPTOR.request(came, ACCOUNT, "m")
    assert request.url == "https://api.example/v1/messages?beta=true"
    assert request.headers == (*headers[:2], IDENTITY, KEY)
    assert request.body is came.body


def test_a_client_without_a_version_gets_the_oldest() -> None:
    """The API refuses requests that name none."""
    assert ADAPTOR.request(call(), ACCOUNT, "m").headers == (IDENTITY, KEY, VERSION)
    assert ADAPTOR.request(call(), ProviderAccount("http://localhost", ""), "m").headers == (IDENTITY, VERSION)


@pytest.mark.parametrize("base_url", ["https://h", "https://h/", "https://h/v1", "https://h/v1/"])
def test_the_version_stands_once_in_the_address(base_url: str) -> None:
    """The base URL is without it, as in the SDK, but people write it with it too."""
    assert ADAPTOR.request(call(), ProviderAccount(base_url, "k"), "m").url == "https://h/v1/messages"


def test_a_mapped_model_goes_up_under_the_providers_name() -> None:
    """And the client's own name comes back."""
    assert ADAPTOR.request(call(body=b'{"model":"m"}'), ACCOUNT, "claude-y").body == b'{"model":"claude-y"}'
    answer = ADAPTOR.answer(call(), ACCOUNT, "claude-y", LIMIT)
    assert answer.whole(b'{"model":"claude-y","content":[]}') == b'{"model":"m","content":[]}'


@pytest.mark.parametrize(
    ("path", "stream", "kind"),
    [
        (b"/messages", True, MessagesAnswer),
        (b"/messages", False, MessagesAnswer),
        (b"/messages/count_tokens", False, CountedAnswer),
        (b"/messages/count_tokens", True, PassedOn),
        (b"/complete", True, PassedOn),
    ],
)
def test_the_reader_of_an_answer_follows_from_the_call(path: bytes, stream: bool, kind: type) -> None:  # noqa: FBT001 - a column of the table
    """What no wire reads goes through as it comes."""
    assert type(ADAPTOR.answer(call(path, stream=stream), ACCOUNT, "m", LIMIT)) is kind


FAILURES = [
    (400, "invalid_request_error", "m", FailureKind.BAD_REQUEST),
    (400, "invalid_request_error", "Your credit balance is too low to access the API.", FailureKind.QUOTA_EXHAUSTED),
    (401, "authentication_error", "invalid x-api-key", FailureKind.UNAUTHORIZED),
    (402, "billing_error", "m", FailureKind.QUOTA_EXHAUSTED),
    (403, "permission_error", "m", FailureKind.FORBIDDEN),
    (404, "not_found_error", "m", FailureKind.NOT_FOUND),
    (413, "request_too_large", "m", FailureKind.TOO_LARGE),
    (429, "rate_limit_error", "m", FailureKind.RATE_LIMITED),
    (500, "api_error", "m", FailureKind.SERVER_ERROR),
    (504, "timeout_error", "m", FailureKind.TIMEOUT),
    (529, "overloaded_error", "m", FailureKind.OVERLOADED),
]


@pytest.mark.parametrize(("status", "word", "message", "kind"), FAILURES)
def test_errors_are_read(status: int, word: str, message: str, kind: FailureKind) -> None:
    """Status, type and message pass; what to do about it is known."""
    error = {"type": word, "message": message}
    body = json.dumps({"type": "error", "error": error, "request_id": "r"}).encode()
    failure = ADAPTOR.failure(status, ((b"retry-after", b"7"),), body, BodyState.WHOLE)
    assert (failure.status, failure.type, failure.message, failure.kind) == (status, word, message, kind)
    assert (failure.format, failure.retry_after) == ("anthropic", 7.0)
    assert json.loads(failure.raw or b"") == error


@pytest.mark.parametrize("state", BodyState)
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\x00", b'{"type":"error"', b"[" * 9999, b'{"error":[]}'])
def test_an_error_body_that_is_none_is_still_an_error(body: bytes, state: BodyState) -> None:
    """The status says enough."""
    failure = ADAPTOR.failure(529, (), body, state)
    assert (failure.kind, failure.status) == (FailureKind.OVERLOADED, 529)
    assert failure.message


def test_the_list_of_models_is_asked_for_and_read() -> None:
    """In one page, with key and version."""
    request = ADAPTOR.models_request(ACCOUNT)
    assert (request.method, request.url) == (b"GET", "https://api.example/v1/models?limit=1000")
    assert {KEY, VERSION} <= set(request.headers)
    assert ADAPTOR.models(b'{"data":[{"type":"model","id":"a"},{"id":7},3,{"id":"b"}]}') == ("a", "b")
    for body in (b"", b"{}", b"[]", b'{"data":7}'):
        with pytest.raises(AnswerFailed):
            ADAPTOR.models(body)


def test_the_provider_is_known_by_the_variables_of_its_sdk() -> None:
    """Whoever has them set needs no file."""
    adaptor = BUILT_IN["anthropic"]
    assert (adaptor.key_variable, adaptor.base_url_variable) == ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    assert adaptor.default_base_url == "https://api.anthropic.com"


def test_the_table_of_paths_names_each_once() -> None:
    """No row stands in the shadow of another one."""
    for endpoint in ANTHROPIC_ENDPOINTS:
        path = endpoint.template.replace("{id+}", "x/1").replace("{id}", "x_1").encode()
        assert all(ANTHROPIC_PATHS.match(method.encode(), path) is endpoint for method in endpoint.methods)


# The dialect.

OURS = ErrorReport(504, "timeout_error", "upstream_headers_timeout", "m", phase="headers", request_id="req_1")


def test_our_own_errors_have_the_form_of_the_api() -> None:
    """With the code and the clock as further fields."""
    error = {"type": "timeout_error", "message": "m", "code": "upstream_headers_timeout", "phase": "headers"}
    assert json.loads(ANTHROPIC.error_body(OURS)) == {"type": "error", "error": error, "request_id": "req_1"}
    event = ANTHROPIC.error_event(OURS, 0)
    assert event == b"event: error\ndata: " + ANTHROPIC.error_body(OURS) + b"\n\n"


WORDS = [
    (400, "invalid_request_error", "invalid_request_error"),
    (401, "invalid_request_error", "authentication_error"),
    (404, "invalid_request_error", "not_found_error"),
    (405, "invalid_request_error", "invalid_request_error"),
    (409, "conflict_error", "invalid_request_error"),
    (429, "insufficient_quota", "rate_limit_error"),
    (500, "api_error", "api_error"),
    (501, "invalid_request_error", "invalid_request_error"),
    (502, "api_error", "api_error"),
    (503, "overloaded_error", "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "word"), WORDS)
def test_the_type_of_an_error_is_one_of_the_apis_own(status: int, kind: str, word: str) -> None:
    """Whatever word our table has for it."""
    assert json.loads(ANTHROPIC.error_body(ErrorReport(status, kind, None, "m")))["error"]["type"] == word


def test_a_providers_error_object_passes() -> None:
    """On one line, since it may stand in an event."""
    report = ErrorReport(529, "overloaded_error", None, "m", raw=b'{\n "type": "x",\r\n "extra": 1}')
    event = ANTHROPIC.error_event(report, 0)
    assert event.count(b"\n") == 3
    assert json.loads(event.partition(b"data: ")[2])["error"] == {"type": "x", "extra": 1}


def test_a_silent_stream_is_kept_awake() -> None:
    """With a ping, that has data; before message_start with a comment, since nothing may come before that event."""
    assert ANTHROPIC.keepalive(content_seen=True) == b'event: ping\ndata: {"type": "ping"}\n\n'
    assert ANTHROPIC.keepalive(content_seen=False) == b": keep-alive\n\n"


def test_the_list_of_models_has_the_form_of_the_api() -> None:
    """In one page."""
    model = {"type": "model", "id": "a", "display_name": "a", "created_at": "2023-11-14T22:13:20Z"}
    listed = {"data": [model], "has_more": False, "first_id": "a", "last_id": "a"}
    assert json.loads(ANTHROPIC.models_body(("a",), 1700000000)) == listed
    assert json.loads(ANTHROPIC.model_body("a", 1700000000)) == model
    assert json.loads(ANTHROPIC.models_body((), 0))["data"] == []


@given(st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2400, 12, 31)))  # noqa: DTZ001 - UTC is put on below
def test_times_are_written_as_the_standard_library_would(time: dt.datetime) -> None:
    """Leap years and the turns of centuries included."""
    time = time.replace(tzinfo=dt.UTC, microsecond=0)
    assert rfc_3339(int(time.timestamp())) == time.strftime("%Y-%m-%dT%H:%M:%SZ")
