"""Tokens are counted by the model's own provider, whatever API the client speaks, with the official SDKs as clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from google.genai import errors
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.failure import AnswerFailed
from adaptors.gemini import Gemini
from adaptors.gemini_paths import GEMINI_PATHS
from adaptors.translation.retelling import RetoldAnswer
from adaptors.values import Call, ProviderAccount
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

QUESTION: Any = [{"role": "user", "content": "one two three"}]
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"name": "weather", "description": "d", "input_schema": SCHEMA}]
ACCOUNT = ProviderAccount("https://api.example", "k")


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "openai", "anthropic", "gemini") as stand:
        yield stand


async def test_a_client_of_anthropics_has_a_gemini_count(stand: WireStand) -> None:
    """The whole request: the system and the tools count too."""
    counted = await stand.with_anthropic(
        lambda sdk: sdk.messages.count_tokens(model="gemini-x", system="s", messages=QUESTION, tools=TOOLS)
    )
    assert counted.input_tokens > 0
    request = stand.upstreams["gemini"].requests[-1]
    assert request.path == "/v1beta/models/gemini-x:countTokens"
    assert request.get("x-goog-api-key") == PROVIDER_KEY
    assert stand.sent("gemini") == {
        "generateContentRequest": {
            "model": "models/gemini-x",
            "contents": [{"role": "user", "parts": [{"text": "one two three"}]}],
            "systemInstruction": {"parts": [{"text": "s"}]},
            "tools": [
                {"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": SCHEMA}]}
            ],
        }
    }


async def test_a_client_of_anthropics_has_openai_count(stand: WireStand) -> None:
    """At its Responses API, without what says only how to answer."""
    counted = await stand.with_anthropic(
        lambda sdk: sdk.messages.count_tokens(model="gpt-x", system="s", messages=QUESTION)
    )
    assert counted.input_tokens > 0
    assert stand.upstreams["openai"].requests[-1].path == "/v1/responses/input_tokens"
    sent = stand.sent("openai")
    assert (sent["model"], sent["instructions"]) == ("gpt-x", "s")
    assert set(sent) == {"model", "instructions", "input"}


@pytest.mark.parametrize("model", ["gpt-x", "claude-x"])
async def test_a_client_of_geminis_has_others_count(stand: WireStand, model: str) -> None:
    """Its contents."""
    counted = await stand.with_gemini(lambda sdk: sdk.models.count_tokens(model=model, contents="one two three"))
    assert counted.total_tokens
    adaptor = "anthropic" if model == "claude-x" else "openai"
    assert "one two three" in json.dumps(stand.sent(adaptor))
    assert not {"max_tokens", "stream", "store"} & stand.sent(adaptor).keys()


@pytest.mark.parametrize("model", ["gemini-x", "claude-x"])
async def test_a_client_of_openais_has_others_count(stand: WireStand, model: str) -> None:
    """At `/responses/input_tokens`."""
    counted = await stand.with_openai(
        lambda sdk: sdk.responses.input_tokens.count(model=model, input="one two three", instructions="s")
    )
    assert (counted.object, counted.input_tokens > 0) == ("response.input_tokens", True)
    sent = json.dumps(stand.sent("anthropic" if model == "claude-x" else "gemini"))
    assert '"s"' in sent
    assert "one two three" in sent


async def test_a_whole_request_of_geminis_is_counted(stand: WireStand) -> None:
    """With its system, which the SDK has no way to send."""
    whole = {"contents": [{"parts": [{"text": "x"}]}], "systemInstruction": {"parts": [{"text": "s"}]}}
    async with connect(stand.relay.url) as client:
        body = {"generateContentRequest": {"model": "models/claude-x", **whole}}
        await client.post_json("/v1beta/models/claude-x:countTokens", body, CLIENT_KEY)
        assert (await client.read_response()).json()["totalTokens"] > 0
    assert stand.sent("anthropic") == {
        "model": "claude-x",
        "system": "s",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
    }


async def test_an_error_is_typed_for_the_client(stand: WireStand) -> None:
    """As any error is."""
    for upstream in stand.upstreams.values():
        upstream.script.always = "answer;status=429"
    with pytest.raises(anthropic.RateLimitError):
        await stand.with_anthropic(lambda sdk: sdk.messages.count_tokens(model="gemini-x", messages=QUESTION))
    with pytest.raises(errors.ClientError) as raised:
        await stand.with_gemini(lambda sdk: sdk.models.count_tokens(model="claude-x", contents="x"))
    assert raised.value.status == "RESOURCE_EXHAUSTED"


# ---- Who cannot count, and what is no answer


def messages_call(**document: Any) -> Call:
    path = b"/messages/count_tokens"
    endpoint = ANTHROPIC_PATHS.match(b"POST", path)
    assert endpoint is not None
    return Call(endpoint, "anthropic", b"POST", path, b"", (), json.dumps(document).encode(), model="m")


def gemini_call(**document: Any) -> Call:
    path = b"/models/m:countTokens"
    endpoint = GEMINI_PATHS.match(b"POST", path)
    assert endpoint is not None
    return Call(endpoint, "gemini", b"POST", path, b"", (), json.dumps(document).encode(), model="m")


def test_what_says_only_how_to_answer_is_not_counted() -> None:
    """The limit, the stops, the thinking."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    call = messages_call(model="m", messages=QUESTION, stop_sequences=["x"], thinking=thinking)
    sent = json.loads(Gemini().request(call, ACCOUNT, "gemini-2.5-flash").body or b"")
    assert set(sent["generateContentRequest"]) == {"model", "contents"}


@pytest.mark.parametrize("name", ["deepseek", "groq", "ollama"])
def test_a_provider_that_cannot_count_says_who_can(name: str) -> None:
    """Another channel of the same model is tried before the client is told."""
    row = next(row for row in COMPATIBLE if row.name == name)
    assert "messages.count_tokens" in row.translates
    with pytest.raises(BadBody, match="Anthropic, Gemini, and OpenAI's Responses API can") as refused:
        row.request(messages_call(model="m", messages=[]), ACCOUNT, "m")
    assert refused.value.param == "model"


@pytest.mark.parametrize("body", [b"{}", b'{"totalTokens": 0}', b'{"input_tokens": 0}'])
def test_nothing_is_counted_as_nothing(body: bytes) -> None:
    """Google's JSON leaves a zero out."""
    assert json.loads(RetoldAnswer(gemini_call(), "m").whole(body)) == {"totalTokens": 0}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"totalTokens": "7"}', b'{"x": 1}', b'{"error": {"message": "no"}}']
)
def test_what_is_no_count_fails(body: bytes) -> None:
    """Also an error in a 200's clothes."""
    with pytest.raises(AnswerFailed):
        RetoldAnswer(messages_call(), "m").whole(body)
