"""Vertex AI: Gemini's and Anthropic's models below one project and location, for clients of every format."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from anthropic_streams import BASIC as STREAM
from openai_streams import LIMIT, call

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.bodies import BadBody
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.gemini_paths import GEMINI_PATHS
from adaptors.protocol import Adaptor, BorrowsTokens, FoundAccount, ReadsVariables, WantsFetched
from adaptors.registry import BUILT_IN
from adaptors.values import Call, Fetched, Lender, ProviderAccount
from adaptors.vertex import Vertex

BASE = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5"
ACCOUNT = ProviderAccount(BASE, "ya29.token")
QUESTION = [{"role": "user", "content": "q"}]
CLAUDE = "claude-sonnet-4@20250514"


def messages(model: str = CLAUDE, *, stream: bool = False, **more: Any) -> Call:
    endpoint = ANTHROPIC_PATHS.match(b"POST", b"/messages")
    assert endpoint is not None
    body = json.dumps({"model": model, "max_tokens": 5, "messages": QUESTION, "stream": stream, **more}).encode()
    return Call(endpoint, "anthropic", b"POST", b"/messages", b"", (), body, model=model, stream=stream)


def chat(model: str, *, stream: bool = False) -> Call:
    body = json.dumps({"model": model, "messages": QUESTION, "stream": stream}).encode()
    return call(body=body, stream=stream, model=model)


def generate(method: bytes, model: str = "gemini-x", query: bytes = b"") -> Call:
    path = b"/models/" + model.encode() + b":" + method
    endpoint = GEMINI_PATHS.match(b"POST", path)
    assert endpoint is not None
    stream = method.startswith(b"stream")
    body = b'{"contents":[{"role":"user","parts":[{"text":"q"}]}]}'
    return Call(endpoint, "gemini", b"POST", b"/v1beta" + path, query, (), body, model=model, stream=stream)


# What goes up


@pytest.mark.parametrize(
    ("came", "below"),
    [
        (generate(b"generateContent"), "google/models/gemini-x:generateContent"),
        (generate(b"streamGenerateContent", query=b"alt=sse"), "google/models/gemini-x:streamGenerateContent?alt=sse"),
        (generate(b"streamGenerateContent"), "google/models/gemini-x:streamGenerateContent?alt=sse"),
        (generate(b"countTokens"), "google/models/gemini-x:countTokens"),
        (chat("gemini-x"), "google/models/gemini-x:generateContent"),
        (messages("gemini-x", stream=True), "google/models/gemini-x:streamGenerateContent?alt=sse"),
        (messages(), "anthropic/models/claude-sonnet-4@20250514:rawPredict"),
        (messages(stream=True), "anthropic/models/claude-sonnet-4@20250514:streamRawPredict"),
        (chat(CLAUDE, stream=True), "anthropic/models/claude-sonnet-4@20250514:streamRawPredict"),
        (generate(b"generateContent", CLAUDE), "anthropic/models/claude-sonnet-4@20250514:rawPredict"),
    ],
)
def test_each_model_is_asked_at_its_makers(came: Call, below: str) -> None:
    """By the maker's own wire, with the token."""
    request = Vertex().request(came, ACCOUNT, came.model)
    assert request.url == f"{BASE}/publishers/{below}"
    assert (b"authorization", b"Bearer ya29.token") in request.headers
    assert not [name for name, _ in request.headers if name in {b"x-goog-api-key", b"x-api-key"}]
    body = json.loads(request.body or b"")
    assert "model" not in body
    assert ("contents" in body) == ("google" in below)
    assert body.get("anthropic_version") == (None if "google" in below else "vertex-2023-10-16")
    if "anthropic" in below:
        assert body.get("stream", False) == came.stream


def test_a_google_clients_body_goes_up_as_it_came() -> None:
    """Byte for byte; a mapped model stands in the path."""
    came = generate(b"generateContent")
    assert Vertex().request(came, ACCOUNT, "gemini-x").body is came.body
    mapped = Vertex().request(came, ACCOUNT, "gemini-2.5-pro")
    assert mapped.url == f"{BASE}/publishers/google/models/gemini-2.5-pro:generateContent"


def test_pictures_go_as_bytes() -> None:
    """Claude fetches nothing there; nor do all of Gemini's models. A Gemini client's own request is left alone."""
    adaptor: Adaptor = Vertex()
    assert isinstance(adaptor, WantsFetched)
    source = {"type": "url", "url": "https://x.example/a.png"}
    turn = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    for model in (CLAUDE, "gemini-x"):
        came = messages(model, messages=turn)
        assert adaptor.wants(came) == ("https://x.example/a.png",)
        filled = attrs.evolve(came, fetched={"https://x.example/a.png": Fetched("image/png", "QUJD")})
        assert b'"QUJD"' in (adaptor.request(filled, ACCOUNT, model).body or b"")
    with pytest.raises(BadBody, match="takes bytes only"):
        adaptor.request(messages(messages=turn), ACCOUNT, CLAUDE)
    assert adaptor.wants(generate(b"generateContent")) == ()


def test_what_cannot_be_had_is_refused() -> None:
    """Claude's tokens are not counted by Google's path."""
    with pytest.raises(BadBody):
        Vertex().request(generate(b"countTokens", CLAUDE), ACCOUNT, CLAUDE)


# With what


def test_a_token_is_borrowed_where_there_is_none() -> None:
    """For the credentials that the channel names, or this machine's."""
    adaptor = BUILT_IN["vertex"]
    assert isinstance(adaptor, BorrowsTokens)
    assert adaptor.lender(ACCOUNT) is None
    assert adaptor.lender(ProviderAccount(BASE, "")) == Lender("google")
    named = ProviderAccount(BASE, "", options={"credentials": "/run/secrets/gcp.json"})
    assert adaptor.lender(named) == Lender("google", "/run/secrets/gcp.json")


def test_the_variables_are_those_of_its_sdk() -> None:
    """Where its switch says that they are meant for models."""
    adaptor = BUILT_IN["vertex"]
    assert isinstance(adaptor, ReadsVariables)
    here = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "us-east5"}
    on = {"GOOGLE_GENAI_USE_VERTEXAI": "true"}
    assert adaptor.account_from(on | here) == FoundAccount("", BASE)
    everywhere = adaptor.account_from(on | here | {"GOOGLE_CLOUD_LOCATION": "global"})
    assert everywhere == FoundAccount("", "https://aiplatform.googleapis.com/v1/projects/p/locations/global")
    assert adaptor.account_from(here) is None
    assert adaptor.account_from(here | {"GOOGLE_GENAI_USE_VERTEXAI": "False"}) is None
    with pytest.raises(ValueError, match="set GOOGLE_CLOUD_LOCATION too"):
        adaptor.account_from(on | {"GOOGLE_CLOUD_PROJECT": "p"})


def test_googles_models_are_listed() -> None:
    """At the same host."""
    request = Vertex().models_request(ACCOUNT)
    assert request.url == "https://us-east5-aiplatform.googleapis.com/v1beta1/publishers/google/models?pageSize=1000"
    listing = {"publisherModels": [{"name": "publishers/google/models/gemini-x"}, {"x": 1}]}
    assert Vertex().models(json.dumps(listing).encode()) == ("gemini-x",)
    for body in (b"{}", b"<html>", b"[]"):
        with pytest.raises(AnswerFailed):
            Vertex().models(body)


# What comes back


def test_each_answer_is_read_by_its_makers_wire() -> None:
    """A stream of Claude's is Anthropic's own."""
    answer = Vertex().answer(messages(stream=True), ACCOUNT, CLAUDE, LIMIT)
    assert b"".join([*answer.chunks(STREAM), *answer.end()]) == STREAM
    assert answer.complete
    reply = b'{"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"finishReason":"STOP","index":0}]}'
    same = Vertex().answer(generate(b"generateContent"), ACCOUNT, "gemini-x", LIMIT)
    assert same.whole(reply) is reply
    told = Vertex().answer(chat("gemini-x"), ACCOUNT, "gemini-x", LIMIT).whole(reply)
    assert json.loads(told)["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize(
    ("status", "body", "kind", "form"),
    [
        (429, b'{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}', FailureKind.RATE_LIMITED, "gemini"),
        (401, b'{"error":{"code":401,"message":"m","status":"UNAUTHENTICATED"}}', FailureKind.UNAUTHORIZED, "gemini"),
        (429, b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', FailureKind.RATE_LIMITED, "anthropic"),
        (529, b'{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}', FailureKind.OVERLOADED, "anthropic"),
        (503, b"<html>", FailureKind.OVERLOADED, "openai"),
    ],
)  # fmt: skip
def test_errors_are_googles_or_anthropics(status: int, body: bytes, kind: FailureKind, form: str) -> None:
    """Whoever of the two answers."""
    failure = Vertex().failure(status, (), body, BodyState.WHOLE)
    assert (failure.kind, failure.format) == (kind, form)
