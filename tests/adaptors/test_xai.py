"""xAI's own ways: its counts, its errors, what its reasoning models refuse, and completions that are fetched later."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from openai_streams import LIMIT, call

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.endpoints import match, stored_id
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.protocol import Answer
from adaptors.registry import BUILT_IN
from adaptors.values import BodyKind, Call, ProviderAccount, Usage
from adaptors.xai import XAI

ACCOUNT = ProviderAccount("https://api.x.ai/v1", "xai-key")
UNARY = call(body=b'{"model":"grok-4"}', stream=False)

# The example answer of https://docs.x.ai/docs/guides/reasoning, shortened: 32 prompt, 9 said, 291 thought, 332 in all.
USAGE = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 332,
    "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 291, "audio_tokens": 0},
    "num_sources_used": 0,
}
COUNTED = Usage(input_tokens=32, output_tokens=300, cached_tokens=6, reasoning_tokens=291)
COMPLETION = {
    "id": "c0161816-8b53-4c28-bd2b-3877c6edb800",
    "object": "chat.completion",
    "model": "grok-4-0709",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": USAGE,
    "citations": ["https://example.com"],
}


def answer_to(came: Call) -> Answer:
    return XAI().answer(came, ACCOUNT, came.model, LIMIT)


def messages(model: str, **more: Any) -> Call:
    endpoint = ANTHROPIC_PATHS.match(b"POST", b"/messages")
    assert endpoint is not None
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "q"}], **more}
    return Call(endpoint, "anthropic", b"POST", b"/messages", b"", (), json.dumps(body).encode(), model=model)


def test_it_is_the_adaptor_of_that_name() -> None:
    """With the variables of its documents, and the families of its models."""
    assert BUILT_IN["xai"] == XAI()
    assert (XAI().key_variable, XAI().default_base_url) == ("XAI_API_KEY", "https://api.x.ai/v1")
    assert "grok-4".startswith(XAI().model_families)


# Tokens


def test_thoughts_are_part_of_the_output_by_our_rule() -> None:
    """Its completion_tokens leave them out, its total has them; the answer's bytes do not change."""
    body = json.dumps(COMPLETION).encode()
    answer = answer_to(UNARY)
    assert answer.whole(body) is body
    assert answer.usage == COUNTED


def test_so_they_are_for_a_client_of_another_format() -> None:
    """Who reads output_tokens is billed for what was thought."""
    answer = answer_to(messages("grok-4"))
    told = json.loads(answer.whole(json.dumps(COMPLETION).encode()))
    assert told["usage"]["output_tokens"] == COUNTED.output_tokens
    assert answer.usage == COUNTED


# Errors


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "Client specified an invalid argument", "Incorrect API key provided: xa***ey.", FailureKind.UNAUTHORIZED),
        (400, "Client specified an invalid argument", "Argument not supported: stop", FailureKind.BAD_REQUEST),
        (403, "The caller does not have permission", "Your newly created team doesn't have any credits yet.",
         FailureKind.QUOTA_EXHAUSTED),
        (403, "The caller does not have permission", "This model is not for your region.", FailureKind.FORBIDDEN),
        (404, "Some requested entity was not found", "The model grok-9 does not exist.", FailureKind.NOT_FOUND),
        (422, None, "Failed to deserialize the JSON body", FailureKind.BAD_REQUEST),
        (429, "Some resource has been exhausted", "Too many requests for team t and model m.",
         FailureKind.RATE_LIMITED),
        (429, "Some resource has been exhausted",
         "Your team t has either used all available credits or reached its monthly spending limit.",
         FailureKind.QUOTA_EXHAUSTED),
        (503, "The service is currently unavailable", "Busy.", FailureKind.OVERLOADED),
    ],
)  # fmt: skip
def test_an_error_of_two_texts_is_understood(status: int, code: str | None, message: str, kind: FailureKind) -> None:
    """`{"code", "error"}`: the error is the message."""
    body = json.dumps({"code": code, "error": message}).encode()
    failure = XAI().failure(status, ((b"retry-after", b"3"),), body, BodyState.WHOLE)
    assert (failure.kind, failure.status, failure.message, failure.code) == (kind, status, message, code)
    assert (failure.retry_after, failure.raw) == (3, None)


def test_openais_shape_is_understood_too() -> None:
    """Some of its paths answer so."""
    body = b'{"error":{"message":"m","type":"invalid_request_error","code":"c"}}'
    assert XAI().failure(400, (), body, BodyState.WHOLE).raw == body[len(b'{"error":') : -1]


def test_an_error_inside_a_200_is_a_failure() -> None:
    """With its message, and the status that its code would have had."""
    with pytest.raises(AnswerFailed, match="The service is busy") as raised:
        answer_to(UNARY).whole(b'{"code":"The service is currently unavailable","error":"The service is busy."}')
    assert (raised.value.failure.status, raised.value.failure.kind) == (503, FailureKind.OVERLOADED)


# What its reasoning models refuse


def sent_for(model: str, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = XAI().request(messages(model, **more), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


def test_what_a_reasoning_model_refuses_is_left_out_and_named() -> None:
    """Where the request is translated: no such model takes stop."""
    body, dropped = sent_for("grok-4", stop_sequences=["x"])
    assert ("stop" in body, dropped) == (False, ("stop",))


@pytest.mark.parametrize("model", ["grok-4-fast-non-reasoning", "grok-3", "grok-3-latest"])
def test_a_model_that_does_not_reason_takes_it(model: str) -> None:
    """Nothing is left out."""
    body, dropped = sent_for(model, stop_sequences=["x"])
    assert (body["stop"], dropped) == (["x"], ())


@pytest.mark.parametrize(
    ("model", "effort", "sent", "dropped"),
    [
        ("grok-3-mini", "low", "low", ()),
        ("grok-3-mini", "medium", "high", ()),
        ("grok-4.3", "medium", "medium", ()),
        ("grok-4.5", "max", "high", ()),
        ("grok-4", "low", None, ("thinking",)),
        ("grok-4-0709", "high", None, ("thinking",)),
        ("grok-code-fast-1", "high", None, ("thinking",)),
    ],
)
def test_an_effort_goes_to_models_that_take_one(
    model: str, effort: str, sent: str | None, dropped: tuple[str, ...]
) -> None:
    """In the nearest word that the model knows."""
    body, left_out = sent_for(model, output_config={"effort": effort})
    assert (body.get("reasoning_effort"), left_out) == (sent, dropped)


def test_no_thinking_is_no_word_for_a_model_that_always_thinks() -> None:
    """It is left out, and named."""
    body, dropped = sent_for("grok-4.5", thinking={"type": "disabled"})
    assert ("reasoning_effort" in body, dropped) == (False, ("reasoning_effort",))


def test_on_its_own_wire_nothing_is_touched() -> None:
    """What the model refuses is between the client and the provider."""
    body = b'{"model":"grok-4","stop":["x"],"presence_penalty":1,"reasoning_effort":"low"}'
    came = call(body=body, model="grok-4")
    request = XAI().request(came, ACCOUNT, "grok-4")
    assert request.body is body
    assert request.dropped == ()


# Deferred completions


def test_a_deferred_completion_is_an_object_like_others() -> None:
    """Its request_id is remembered, and its path leads back to who made it."""
    answer = answer_to(attrs.evolve(UNARY, body=b'{"model":"grok-4","deferred":true}'))
    body = b'{"request_id":"f15c114e-f47d-40ca-8d5c-8c23d656eeb6"}'
    assert answer.whole(body) is body
    assert answer.stored_id == "f15c114e-f47d-40ca-8d5c-8c23d656eeb6"
    path = b"/chat/deferred-completion/f15c114e-f47d-40ca-8d5c-8c23d656eeb6"
    endpoint = match(b"GET", path)
    assert endpoint is not None
    assert (endpoint.body, stored_id(endpoint, path)) == (BodyKind.NONE, answer.stored_id)


def test_a_completion_that_is_fetched_is_counted() -> None:
    """When it is ready."""
    path = b"/chat/deferred-completion/f15"
    endpoint = match(b"GET", path)
    assert endpoint is not None
    answer = answer_to(Call(endpoint, "openai_chat", b"GET", path, b"", (), b""))
    body = json.dumps(COMPLETION).encode()
    assert answer.whole(body) is body
    assert answer.usage == COUNTED
