"""A client of the Gemini API reaches the Gemini API, with the official SDK as the client, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from relay_trio.testing.answers import WORDS
from relay_trio.testing.answers_gemini import THOUGHTS
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

ASK: Any = {"model": "gemini-x", "contents": "one two three"}
STREAM = "/v1beta/models/gemini-x:streamGenerateContent"
BODY: Any = {"contents": [{"parts": [{"text": "one two three"}]}]}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "gemini") as stand:
        yield stand


async def test_a_whole_answer(stand: WireStand) -> None:
    """The typed answer comes out; key and model go where they belong; the tokens are in the log line."""
    answer = await stand.with_gemini(lambda sdk: sdk.models.generate_content(**ASK))
    assert answer.text == "".join(WORDS)
    request = stand.upstreams["gemini"].requests[-1]
    assert request.path.endswith("/models/gemini-x:generateContent")
    assert request.get("x-goog-api-key") == PROVIDER_KEY
    assert request.query == ""
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["model"], line["output_tokens"]) == ("gemini", "gemini-x", len(WORDS) + THOUGHTS)


async def test_a_stream(stand: WireStand) -> None:
    """Word by word."""

    def work(sdk: genai.Client) -> list[str | None]:
        return [piece.text for piece in sdk.models.generate_content_stream(**ASK)]

    assert await stand.with_gemini(work) == list(WORDS)
    (line,) = stand.relay.finished()
    assert (line["stream"], line["outcome"], line["reasoning_tokens"]) == (True, "completed", THOUGHTS)


async def test_a_stream_is_the_providers_byte_for_byte(stand: WireStand) -> None:
    """Not one byte is added or lost."""
    upstream = stand.upstreams["gemini"]
    streams = []
    for address in (upstream.url, stand.relay.url):
        upstream.provider = type(upstream.provider)()
        async with connect(address) as client:
            await client.post_json(f"{STREAM}?alt=sse", BODY, CLIENT_KEY)
            streams.append((await client.read_response()).body.data)
    assert streams[0] == streams[1]


async def test_a_stream_as_an_array(stand: WireStand) -> None:
    """For who does not ask for events: one JSON document, also where it ends in an error."""
    async with connect(stand.relay.url) as client:
        await client.post_json(STREAM, BODY, CLIENT_KEY)
        response = await client.read_response()
    assert response.head.get("content-type") == "application/json; charset=UTF-8"
    words = [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in response.json()]
    assert words == list(WORDS)
    stand.upstreams["gemini"].script.always = "reset-mid-body;after=3"
    async with connect(stand.relay.url) as client:
        await client.post_json(STREAM, BODY, CLIENT_KEY)
        *pieces, last = json.loads((await client.read_response()).body.data)
    assert len(pieces) == 3
    assert last["error"]["code"] == 502


async def test_a_function_call_with_its_signature(stand: WireStand) -> None:
    """It comes whole."""
    declared = types.FunctionDeclaration(name="weather", description="d")
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
    answer = await stand.with_gemini(lambda sdk: sdk.models.generate_content(**ASK, config=config))
    (call,) = answer.function_calls or []
    assert (call.name, call.args) == ("weather", {"city": "Utrecht"})
    part: Any = (answer.candidates or [])[0].content
    assert part.parts[0].thought_signature == b"signed"


async def test_other_methods(stand: WireStand) -> None:
    """Counted tokens, embeddings, the list of models."""
    counted = await stand.with_gemini(lambda sdk: sdk.models.count_tokens(**ASK))
    assert counted.total_tokens
    embedded = await stand.with_gemini(lambda sdk: sdk.models.embed_content(**ASK))
    assert (embedded.embeddings or [])[0].values == [0.25, 0.5]
    listed = await stand.with_gemini(lambda sdk: [model.name for model in sdk.models.list()])
    assert listed == ["models/gemini-fake-small", "models/gemini-fake-large"]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503, 504])
async def test_errors_are_typed(stand: WireStand, status: int) -> None:
    """Status, word and message are the provider's."""
    stand.upstreams["gemini"].script.always = f"answer;status={status}"
    kind = errors.ClientError if status < 500 else errors.ServerError
    with pytest.raises(kind, match=f"The fake upstream answers {status}") as raised:
        await stand.with_gemini(lambda sdk: sdk.models.generate_content(**ASK))
    assert raised.value.code == status


async def test_the_wait_is_told_in_a_header_too(stand: WireStand) -> None:
    """Gemini hides it in the details."""
    stand.upstreams["gemini"].script.always = "answer;status=429"
    async with connect(stand.relay.url) as client:
        await client.post_json("/v1beta/models/gemini-x:generateContent", BODY, CLIENT_KEY)
        response = await client.read_response()
    assert response.head.get("retry-after") == "12"
    assert response.json()["error"]["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("broken", ["truncated-chunked", "reset-mid-body"])
async def test_a_stream_cut_short_is_told_as_an_error(stand: WireStand, broken: str) -> None:
    """The SDK raises, after the words that came."""
    stand.upstreams["gemini"].script.always = f"{broken};after=3"
    words: list[str | None] = []

    def work(sdk: genai.Client) -> None:
        words.extend(piece.text for piece in sdk.models.generate_content_stream(**ASK))

    with pytest.raises(errors.ServerError):
        await stand.with_gemini(work)
    (line,) = stand.relay.finished()
    assert line["outcome"] == "upstream_error"


async def test_a_wrong_client_key_is_told_in_the_clients_dialect(stand: WireStand) -> None:
    """UNAUTHENTICATED, also where the key stood in the query."""
    async with connect(stand.relay.url) as client:
        await client.request("POST", "/v1beta/models/gemini-x:generateContent?key=wrong", [], b"{}")
        response = await client.read_response()
    assert response.status == 401
    assert response.json()["error"]["status"] == "UNAUTHENTICATED"
