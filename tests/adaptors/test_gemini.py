"""The Gemini API reaches its own clients: requests and answers pass, ends are proven, errors mean what they say."""

from __future__ import annotations

import json

import attrs
import pytest
from gemini_streams import STREAMS, call
from openai_streams import LIMIT, failure_of, passed_and_failure, read, split_everywhere

from adaptors.bodies import BadBody
from adaptors.dialects.gemini import GEMINI, GEMINI_ARRAY
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.gemini import Gemini
from adaptors.gemini_paths import asked_by_path, split_version, with_model
from adaptors.protocol import ErrorReport
from adaptors.values import ProviderAccount, Usage
from adaptors.wires import gemini_generate
from adaptors.wires.gemini_generate import GeminiJSONAnswer, GenerateAnswer
from adaptors.wires.openai_json import PassedOn

ADAPTOR = Gemini()
ACCOUNT = ProviderAccount("https://api.example", "k")
KEY, IDENTITY = (b"x-goog-api-key", b"k"), (b"accept-encoding", b"identity")
TEXT = STREAMS["text"]
ALL = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


def answer(*, model: str | None = None, array: bool = False, body: bytes = b"{}") -> GenerateAnswer:
    return GenerateAnswer(call(body=body), model=model, max_event_bytes=LIMIT, array=array)


# ---- The request


def test_a_call_goes_up_as_it_came() -> None:
    """Version, path, query, headers and the body's very bytes; address and key are ours."""
    came = attrs.evolve(
        call(b"/v1alpha/models/m:generateContent", b'{ "contents":[]}', b"a=b"), headers=((b"x-a", b"1"),)
    )
    request = ADAPTOR.request(came, ACCOUNT, came.model)
    assert request.url == "https://api.example/v1alpha/models/m:generateContent?a=b"
    assert request.headers == ((b"x-a", b"1"), IDENTITY, KEY)
    assert request.body is came.body


@pytest.mark.parametrize("base_url", ["https://h", "https://h/", "https://h/v1beta", "https://h/v1"])
@pytest.mark.parametrize(
    ("path", "version"), [(b"/v1/models/m:countTokens", "/v1"), (b"/models/m:countTokens", "/v1beta")]
)
def test_the_version_stands_once_in_the_address(base_url: str, path: bytes, version: str) -> None:
    """The client's, or the one that has every field."""
    request = ADAPTOR.request(call(path, query=b""), ProviderAccount(base_url, "k"), "gemini-2.5-flash")
    assert request.url == f"https://h{version}/models/m:countTokens"


QUERIES = [
    (b"alt=sse", "alt=sse"),
    (b"", "alt=sse"),
    (b"alt=json&x=1", "x=1&alt=sse"),
    (b"x=1&$alt=sse", "x=1&$alt=sse"),
]


@pytest.mark.parametrize(("query", "sent"), QUERIES)
def test_a_stream_is_always_asked_for_as_events(query: bytes, sent: str) -> None:
    """Only they can be watched."""
    assert ADAPTOR.request(call(query=query), ACCOUNT, "gemini-2.5-flash").url.endswith(f"?{sent}")


def test_a_mapped_model_is_renamed_in_the_path() -> None:
    """And in the body, where that names it too, as the SDK's questions for embeddings do."""
    request = ADAPTOR.request(call(query=b""), ACCOUNT, "tuned/x y")
    assert request.url == "https://api.example/v1beta/models/tuned/x%20y:streamGenerateContent?alt=sse"
    batch = b'{"requests": [{"model": "models/gemini-2.5-flash", "content": {"parts": [{"text": "\\"model\\": \\"models/x\\""}]}}]}'
    named = call(b"/v1beta/models/m:batchEmbedContents", batch, b"")
    assert ADAPTOR.request(named, ACCOUNT, "other").body == batch.replace(b"gemini-2.5-flash", b"other")
    with pytest.raises(BadBody):
        ADAPTOR.request(call(b"/v1beta/models/m:embedContent", b'{"model": "models/m"}', b""), ACCOUNT, "other")
    assert ADAPTOR.request(named, ACCOUNT, named.model).body is named.body


PATHS = [
    (b"/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
    (b"/v1/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
    (b"/models/a/b%3Ac:countTokens", "a/b:c", False),
    (b"/v1beta/v1/models/a:b:streamGenerateContent", "a:b", True),
    (b"/v1beta/models", None, False),
]


@pytest.mark.parametrize(("path", "model", "stream"), PATHS)
def test_the_path_says_model_and_stream(path: bytes, model: str | None, stream: bool) -> None:  # noqa: FBT001 - a column of the table
    """The method stands after the last colon; a name may hold slashes and colons."""
    assert asked_by_path(path) == (model, stream)
    if model is not None:
        assert asked_by_path(with_model(path, "é/x:y z")) == ("é/x:y z", stream)


def test_versions() -> None:
    """The last one counts, for base URLs bring their own."""
    assert split_version(b"/v1beta/v1/models") == (b"/v1", b"/models")
    assert split_version(b"/v1alpha/models") == (b"/v1alpha", b"/models")
    assert split_version(b"/models") == (b"", b"/models")
    assert split_version(b"x") == (b"", b"x")


# ---- A stream


@ALL
def test_a_stream_passes_byte_for_byte_however_it_is_cut(stream: bytes) -> None:
    """With CR LF at each line's end."""
    for pieces in split_everywhere(stream):
        reader = answer()
        assert read(reader, pieces) == stream
        assert reader.complete


@ALL
def test_a_stream_that_is_cut_off_fails(stream: bytes) -> None:
    """Nothing but a finishReason or a blockReason, and a clean end, is an end."""
    whole = len(stream.rstrip())
    for at in range(len(stream)):
        passed, failed = passed_and_failure(answer(), [stream[:at]] if at else [])
        assert stream.startswith(passed.rstrip())
        assert (failed is None) == (at >= whole)
        if failed is not None:
            assert failed.failure.kind is FailureKind.BROKEN_ANSWER


def test_every_candidate_must_have_ended() -> None:
    """As many as were asked for."""
    failed = failure_of(answer(body=b'{"generationConfig":{"candidateCount":2}}'), [TEXT])
    assert failed is not None
    assert "before the answer was complete" in failed.failure.message


def test_a_block_in_the_middle_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens are read when somebody asks."""
    reader = answer()
    first, second, _ = TEXT.split(b"\r\n\r\n", 2)
    list(reader.chunks(first + b"\r\n\r\n"))
    assert reader.usage == Usage(10)
    monkeypatch.setattr(gemini_generate, "decoded_event", None)
    block = second + b"\r\n\r\n"
    assert list(reader.chunks(block)) == [block]
    assert reader.usage == Usage(10, 4)


def test_usage_is_brought_to_one_rule() -> None:
    """The last one counts: thoughts are output, what tools were told is input."""
    reader = answer()
    read(reader, [TEXT])
    assert reader.usage == Usage(input_tokens=12, output_tokens=29, cached_tokens=3, reasoning_tokens=22)


@ALL
def test_only_the_models_version_is_renamed(stream: bytes) -> None:
    """On every event, however it is cut."""
    renamed = stream.replace(b'"gemini-2.5-flash"', b'"mine"')
    assert read(answer(model="mine"), [stream]) == renamed
    assert read(answer(model="mine"), [bytes([byte]) for byte in stream]) == renamed


@ALL
def test_an_array_has_the_events_as_its_elements(stream: bytes) -> None:
    """One by one, each unchanged."""
    elements = [line.removeprefix(b"data: ") for line in stream.split(b"\r\n\r\n") if line]
    for pieces in split_everywhere(stream):
        reader = answer(array=True)
        assert read(reader, pieces) == b"[" + b",\r\n".join(elements) + b"]"
        assert reader.sequence == len(elements)


ERROR = b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}'


@pytest.mark.parametrize("event", [b"data: " + ERROR + b"\r\n\r\n", b"data: [" + ERROR + b"]\r\n\r\n"])
@pytest.mark.parametrize("before", [b"", TEXT[: TEXT.index(b"\r\n\r\n") + 4]])
def test_an_error_in_a_stream_fails(before: bytes, event: bytes) -> None:
    """After what came before it; in a list too."""
    for pieces in split_everywhere(before + event):
        passed, failed = passed_and_failure(answer(), pieces)
        assert passed.rstrip() == before.rstrip()  # a line end that was cut may wait for its other half
        assert failed is not None
        assert failed.failure.kind in {FailureKind.OVERLOADED, FailureKind.BROKEN_ANSWER}


def test_a_whole_answer_passes_byte_for_byte() -> None:
    """Its tokens are read; what is none fails."""
    body = TEXT.split(b"data: ")[3].strip()
    reader = answer()
    assert reader.whole(body) == body
    assert reader.usage == Usage(12, 29, 3, 22)
    assert answer(model="mine").whole(body) == body.replace(b"gemini-2.5-flash", b"mine")
    for no_answer in (b"", b"{}", b"[]", b"<html>"):
        with pytest.raises(AnswerFailed):
            answer().whole(no_answer)
    with pytest.raises(AnswerFailed) as failed:
        answer().whole(ERROR)
    assert (failed.value.failure.kind, failed.value.failure.format) == (FailureKind.OVERLOADED, "gemini")


def test_the_reader_of_an_answer_follows_from_the_call() -> None:
    """Counted tokens are one object."""
    assert type(ADAPTOR.answer(call(), ACCOUNT, None, LIMIT)) is GenerateAnswer
    counted = call(b"/v1beta/models/m:countTokens", query=b"")
    assert type(ADAPTOR.answer(counted, ACCOUNT, None, LIMIT)) is GeminiJSONAnswer
    assert type(ADAPTOR.answer(attrs.evolve(counted, stream=True), ACCOUNT, None, LIMIT)) is PassedOn


# ---- Errors

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
FAILURES = [
    (400, "INVALID_ARGUMENT", [], FailureKind.BAD_REQUEST, None),
    (400, "INVALID_ARGUMENT", [BAD_KEY], FailureKind.UNAUTHORIZED, None),
    (403, "PERMISSION_DENIED", [], FailureKind.FORBIDDEN, None),
    (404, "NOT_FOUND", [], FailureKind.NOT_FOUND, None),
    (429, "RESOURCE_EXHAUSTED", [RETRY], FailureKind.RATE_LIMITED, 12.5),
    (500, "INTERNAL", [], FailureKind.SERVER_ERROR, None),
    (503, "UNAVAILABLE", [], FailureKind.OVERLOADED, None),
    (504, "DEADLINE_EXCEEDED", [], FailureKind.TIMEOUT, None),
]


@pytest.mark.parametrize("in_list", [False, True])
@pytest.mark.parametrize(("status", "word", "details", "kind", "retry_after"), FAILURES)
def test_errors_are_read(  # noqa: PLR0917 - columns of the table
    status: int,
    word: str,
    details: list[object],
    kind: FailureKind,
    retry_after: float | None,
    in_list: bool,  # noqa: FBT001 - a column
) -> None:
    """Status, word and message pass; the wait stands in the details."""
    document = {"error": {"code": status, "message": "m", "status": word, "details": details}}
    body = json.dumps([document] if in_list else document).encode()
    failure = ADAPTOR.failure(status, (), body, BodyState.WHOLE)
    assert (failure.status, failure.type, failure.message, failure.kind) == (status, word, "m", kind)
    assert (failure.format, failure.retry_after) == ("gemini", retry_after)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[[[[", b'{"error":7}', b'{"error":{"details":7,"message":"m"}}',
                                  b'{"error":{"details":[7,{"retryDelay":7}],"message":"m"}}', b"[" * 9999])  # fmt: skip
def test_an_error_body_that_is_none_is_still_an_error(body: bytes) -> None:
    """The status says enough."""
    assert ADAPTOR.failure(503, (), body, BodyState.WHOLE).kind is FailureKind.OVERLOADED


OURS = ErrorReport(504, "timeout_error", "upstream_headers_timeout", "m", phase="headers", limit_s=9.0, request_id="r")


def test_our_own_errors_have_the_form_of_the_api() -> None:
    """With `error` as the first key, which the SDK looks for, and what is ours in the details."""
    error = json.loads(GEMINI.error_body(OURS))["error"]
    assert (error["code"], error["status"], error["message"]) == (504, "DEADLINE_EXCEEDED", "m")
    assert error["details"][0]["reason"] == "UPSTREAM_HEADERS_TIMEOUT"
    assert error["details"][0]["metadata"] == {"phase": "headers", "limit_s": "9.0", "request_id": "r"}
    assert GEMINI.error_event(OURS, 3) == b"data: " + GEMINI.error_body(OURS) + b"\r\n\r\n"
    raw = attrs.evolve(OURS, raw=b'{"code":1}')
    assert GEMINI.error_body(raw) == b'{"error":{"code":1}}'


def test_in_an_array_an_error_is_the_last_element() -> None:
    """So that the whole is JSON."""
    assert list(json.loads(GEMINI_ARRAY.error_event(OURS, 0))[0]) == ["error"]
    assert len(json.loads(b"[{}" + GEMINI_ARRAY.error_event(OURS, 1))) == 2


def test_a_silent_stream_is_kept_awake_by_an_empty_line() -> None:
    """The SDK takes anything else for JSON; in an array it is white space."""
    assert GEMINI.keepalive(content_seen=True) == GEMINI_ARRAY.keepalive(content_seen=False) == b"\n"


def test_models_are_listed() -> None:
    """Theirs are read, ours have the form of the API."""
    request = ADAPTOR.models_request(ACCOUNT)
    assert request.url == "https://api.example/v1beta/models?pageSize=1000"
    assert KEY in request.headers
    assert ADAPTOR.models(b'{"models":[{"name":"models/a"},7,{"name":"b"}]}') == ("a", "b")
    for body in (b"", b"{}", b"[]", b'{"models":7}'):
        with pytest.raises(AnswerFailed):
            ADAPTOR.models(body)
    assert json.loads(GEMINI.models_body(("a",), 0))["models"][0]["name"] == "models/a"
    assert json.loads(GEMINI.model_body("a", 0))["name"] == "models/a"
