"""Bedrock: Anthropic's models in AWS's clothes, for clients of every format."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import attrs
import pytest
from openai_streams import LIMIT, call
from test_aws import message

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.bedrock import Bedrock
from adaptors.bodies import BadBody
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.protocol import Adaptor, Answer, FoundAccount, ReadsVariables, TellsTime, WantsFetched, at_moment
from adaptors.registry import BUILT_IN
from adaptors.values import Call, Fetched, ProviderAccount

HOST = "https://bedrock-runtime.eu-west-1.amazonaws.com"
BEARER = ProviderAccount(HOST, "bedrock-api-key-abc")
SIGNED = ProviderAccount(HOST, "AKIDEXAMPLE:secret/key+x:token==")
MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"
QUESTION = [{"role": "user", "content": "q"}]
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}


def messages(*, stream: bool = False, headers: Any = (), **more: Any) -> Call:
    endpoint = ANTHROPIC_PATHS.match(b"POST", b"/messages")
    assert endpoint is not None
    body = {"model": MODEL, "max_tokens": 5, "messages": QUESTION, "stream": stream, **more}
    text = json.dumps(body).encode()
    return Call(endpoint, "anthropic", b"POST", b"/messages", b"", headers, text, model=MODEL, stream=stream)


def chat(*, stream: bool = False, **more: Any) -> Call:
    body = {"model": MODEL, "messages": QUESTION, "stream": stream, **more}
    return call(body=json.dumps(body).encode(), stream=stream, model=MODEL)


def sent(came: Call, account: ProviderAccount = BEARER, model: str | None = MODEL) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Bedrock().request(came, account, model).body or b"")
    return body


# What goes up


def test_the_model_stands_in_the_path() -> None:
    """Escaped, an ARN too; whether it is a stream is said there, and nothing of both in the body."""
    unary = Bedrock().request(messages(), BEARER, MODEL)
    assert unary.url == f"{HOST}/model/anthropic.claude-sonnet-4-20250514-v1%3A0/invoke"
    assert json.loads(unary.body or b"") == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": QUESTION,
    }
    arn = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x"
    stream = Bedrock().request(messages(stream=True), BEARER, arn)
    assert stream.url == f"{HOST}/model/{arn.replace(':', '%3A').replace('/', '%2F')}/invoke-with-response-stream"


def test_what_an_anthropic_client_asks_for_stays() -> None:
    """All fields, those that are new too; the betas of its header are a field there."""
    headers = ((b"anthropic-beta", b"a-1, b-2"), (b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"c-3"))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = sent(messages(headers=headers, thinking=thinking, brand_new={"source": 1}))
    assert body["thinking"] == thinking
    assert body["brand_new"] == {"source": 1}
    assert body["anthropic_beta"] == ["a-1", "b-2", "c-3"]


def test_a_chat_completion_is_translated() -> None:
    """As it is for Anthropic."""
    body = sent(chat(stop=["x"], max_completion_tokens=7))
    assert (body["anthropic_version"], body["max_tokens"], body["stop_sequences"]) == ("bedrock-2023-05-31", 7, ["x"])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    assert "model" not in body


def test_pictures_go_as_bytes() -> None:
    """Whoever's client points to them, in a turn or in the result of a tool."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [PICTURE]}
    own = messages(messages=[{"role": "user", "content": [result, PICTURE]}])
    translated = chat(
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]
    )
    adaptor: Adaptor = Bedrock()
    assert isinstance(adaptor, WantsFetched)
    filled = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    for came in (own, translated):
        assert adaptor.wants(came) == ("https://x.example/a.png",)
        body = sent(attrs.evolve(came, fetched={"https://x.example/a.png": Fetched("image/png", "AAAA")}))
        assert body["messages"][0]["content"][-1]["source"] == filled
        with pytest.raises(BadBody, match="takes bytes only"):
            sent(came)
    body = sent(attrs.evolve(own, fetched={"https://x.example/a.png": Fetched("image/png", "AAAA")}))
    assert body["messages"][0]["content"][0]["content"][0]["source"] == filled
    assert adaptor.wants(messages()) == ()


def test_a_body_that_is_none_is_refused() -> None:
    """With a sentence."""
    for body in (b"", b"[]", b"{"):
        with pytest.raises(BadBody):
            Bedrock().request(attrs.evolve(messages(), body=body), BEARER, MODEL)


# With what


def test_an_api_key_goes_as_it_is() -> None:
    """And no key as none."""
    assert (b"authorization", b"Bearer bedrock-api-key-abc") in Bedrock().request(messages(), BEARER, MODEL).headers
    names = [name for name, _ in Bedrock().request(messages(), attrs.evolve(BEARER, key=""), MODEL).headers]
    assert b"authorization" not in names


def test_a_pair_of_keys_signs() -> None:
    """For the region of the address, at the moment of the attempt; the secret does not leave."""
    adaptor = at_moment(BUILT_IN["bedrock"], 1_440_938_160.9)
    assert isinstance(adaptor, TellsTime)
    request = adaptor.request(messages(), SIGNED, MODEL)
    fields = dict(request.headers)
    assert fields[b"x-amz-date"] == b"20150830T123600Z"
    assert fields[b"x-amz-security-token"] == b"token=="
    assert b"Credential=AKIDEXAMPLE/20150830/eu-west-1/bedrock/aws4_request" in fields[b"authorization"]
    assert b"secret" not in repr(request.headers).encode()
    elsewhere = attrs.evolve(SIGNED, base_url="https://vpce-1.example", options={"region": "ap-south-1"})
    assert b"/ap-south-1/bedrock/" in dict(adaptor.request(messages(), elsewhere, MODEL).headers)[b"authorization"]


KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"AWS_BEARER_TOKEN_BEDROCK": "b", "AWS_REGION": "eu-west-1"}, FoundAccount("b", HOST, {"region": "eu-west-1"})),
        ({**KEYS, "AWS_DEFAULT_REGION": "eu-west-1"}, FoundAccount("AKID:s", HOST, {"region": "eu-west-1"})),
        ({**KEYS, "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-west-1"},
         FoundAccount("AKID:s:t", HOST, {"region": "eu-west-1"})),
        ({**KEYS, "AWS_REGION": "cn-north-1"},
         FoundAccount("AKID:s", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", {"region": "cn-north-1"})),
        ({**KEYS, "AWS_REGION": "r", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://e"},
         FoundAccount("AKID:s", "https://e", {"region": "r"})),
        (KEYS, None),
        ({"AWS_ACCESS_KEY_ID": "AKID", "AWS_REGION": "r"}, None),
        ({"AWS_REGION": "r"}, None),
    ],
)  # fmt: skip
def test_the_variables_are_those_of_awss_sdks(values: dict[str, str], found: FoundAccount | None) -> None:
    """Those of AWS at large make a channel only if they say a region too."""
    adaptor = BUILT_IN["bedrock"]
    assert isinstance(adaptor, ReadsVariables)
    assert adaptor.account_from(values) == found


def test_an_api_key_without_a_region_is_half_an_account() -> None:
    """What is missing is said."""
    with pytest.raises(ValueError, match="set AWS_REGION too"):
        Bedrock().account_from({"AWS_BEARER_TOKEN_BEDROCK": "b"})


def test_its_models_are_listed_elsewhere() -> None:
    """At the service's other address."""
    request = Bedrock().models_request(BEARER)
    assert request.url == "https://bedrock.eu-west-1.amazonaws.com/foundation-models?byProvider=anthropic"
    listing = {"modelSummaries": [{"modelId": MODEL, "providerName": "Anthropic"}, {"x": 1}]}
    assert Bedrock().models(json.dumps(listing).encode()) == (MODEL,)
    for body in (b"{}", b"<html>", b"[]"):
        with pytest.raises(AnswerFailed):
            Bedrock().models(body)


# What comes back: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html, with the events of
# https://docs.claude.com/en/docs/build-with-claude/streaming inside

EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_bdrk_1", "type": "message", "role": "assistant", "content": [],
     "model": "claude-sonnet-4-20250514", "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel\nlo \u2028"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 4}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 4}},
]  # fmt: skip


def framed(event: dict[str, Any]) -> bytes:
    payload = {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abcdef"}
    return message(
        json.dumps(payload).encode(), event_type="chunk", content_type="application/json", message_type="event"
    )


STREAM = b"".join(map(framed, EVENTS))
SERVER_SENT = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in EVENTS)


def answer_to(came: Call) -> Answer:
    return Bedrock().answer(came, BEARER, MODEL, LIMIT)


def read(answer: Answer, *pieces: bytes) -> bytes:
    told = b"".join(chunk for piece in pieces for chunk in answer.chunks(piece))
    return told + b"".join(answer.end())


def test_an_anthropic_client_gets_anthropics_stream() -> None:
    """Event for event, however the bytes come; then it is complete, and counted."""
    for pieces in ([STREAM], [bytes([byte]) for byte in STREAM]):
        answer = answer_to(messages(stream=True))
        assert read(answer, *pieces) == SERVER_SENT
        assert (answer.complete, answer.content_seen) == (True, True)
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 4)


def test_a_cut_is_told_wherever_it_is() -> None:
    """Nothing but message_stop proves the end; a torn event is told as one."""
    ends = {0, *itertools.accumulate(len(framed(event)) for event in EVENTS)}
    for at in range(len(STREAM)):
        answer = answer_to(messages(stream=True))
        with pytest.raises(AnswerFailed, match="before the answer" if at in ends else "in the middle of an event"):
            read(answer, STREAM[:at])
        assert not answer.complete


def test_an_opening_is_no_content() -> None:
    """Until the first word another attempt may follow."""
    answer = answer_to(messages(stream=True))
    list(answer.chunks(framed(EVENTS[0]) + framed(EVENTS[1])))
    assert not answer.content_seen
    list(answer.chunks(framed(EVENTS[2])))
    assert answer.content_seen


def test_a_chat_client_gets_chunks() -> None:
    """Of the same stream."""
    told = read(answer_to(chat(stream=True)), STREAM)
    assert told.endswith(b"data: [DONE]\n\n")
    assert b'"content":"Hel\\nlo' in told


def test_a_whole_message() -> None:
    """As it is, or translated."""
    body = json.dumps(
        {**EVENTS[0]["message"], "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    ).encode()
    assert answer_to(messages()).whole(body) == body
    assert json.loads(answer_to(chat()).whole(body))["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("throttlingException", 429, FailureKind.RATE_LIMITED),
        ("modelStreamErrorException", 502, FailureKind.SERVER_ERROR),
        ("internalServerException", 500, FailureKind.SERVER_ERROR),
        ("modelTimeoutException", 504, FailureKind.TIMEOUT),
        ("serviceUnavailableException", 503, FailureKind.OVERLOADED),
        ("validationException", 400, FailureKind.BAD_REQUEST),
        ("somethingNew", 502, FailureKind.SERVER_ERROR),
    ],
)
def test_an_exception_in_a_stream_is_a_failure(name: str, status: int, kind: FailureKind) -> None:
    """By its name, with its message; what came before it stays."""
    answer = answer_to(messages(stream=True))
    thrown = message(b'{"message":"Too many tokens"}', message_type="exception", exception_type=name)
    told: list[bytes] = []
    with pytest.raises(AnswerFailed) as raised:
        told.extend(answer.chunks(framed(EVENTS[0]) + thrown))
    failure = raised.value.failure
    assert (failure.status, failure.kind, failure.message, failure.code) == (status, kind, "Too many tokens", name)
    assert (failure.raw, failure.format) == (None, "bedrock")


def test_an_error_of_the_stream_itself_is_a_failure() -> None:
    """Its words stand in the headers."""
    thrown = message(b"", message_type="error", error_code="InternalFailure", error_message="It broke.")
    with pytest.raises(AnswerFailed, match="It broke"):
        list(answer_to(messages(stream=True)).chunks(thrown))


@pytest.mark.parametrize(
    "garbage",
    [
        b"event: message_start\ndata: {}\n\n",
        b"<html><body>no</body></html>",
        framed(EVENTS[0])[:-1] + b"\x00",
        message(b"{", event_type="chunk", message_type="event"),
        message(b'{"bytes":"bm8="}', event_type="chunk", message_type="event"),
        message(b'{"bytes":"!"}', event_type="chunk", message_type="event"),
    ],
)
def test_garbage_is_told(garbage: bytes) -> None:
    """In a sentence of ours."""
    with pytest.raises(AnswerFailed) as raised:
        list(answer_to(messages(stream=True)).chunks(garbage))
    assert raised.value.failure.kind is FailureKind.BROKEN_ANSWER


def test_events_of_another_kind_say_nothing() -> None:
    """They pass over."""
    other = message(b"{}", event_type="initial-response", message_type="event")
    assert read(answer_to(messages(stream=True)), other, STREAM) == SERVER_SENT


@pytest.mark.parametrize(
    ("status", "name", "told", "kind"),
    [
        (400, "ValidationException", 400, FailureKind.BAD_REQUEST),
        (403, "AccessDeniedException:http://internal.amazon.com/", 403, FailureKind.FORBIDDEN),
        (403, "ExpiredTokenException", 403, FailureKind.UNAUTHORIZED),
        (403, "UnrecognizedClientException", 403, FailureKind.UNAUTHORIZED),
        (424, "ModelErrorException", 502, FailureKind.SERVER_ERROR),
        (429, "ThrottlingException", 429, FailureKind.RATE_LIMITED),
        (503, "", 503, FailureKind.OVERLOADED),
    ],
)
def test_an_error_is_known_by_its_name(status: int, name: str, told: int, kind: FailureKind) -> None:
    """Which stands in a header; without one the status says enough."""
    headers = ((b"x-amzn-errortype", name.encode()),) if name else ()
    failure = Bedrock().failure(status, headers, b'{"message":"m"}', BodyState.WHOLE)
    assert (failure.status, failure.kind, failure.message) == (told, kind, "m")
    assert failure.code == (name.partition(":")[0] or None)
