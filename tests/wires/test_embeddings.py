"""Embeddings between OpenAI's API and Gemini's, with the official SDKs as clients, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from google.genai import errors, types
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.endpoints import OPENAI_PATHS
from adaptors.failure import AnswerFailed
from adaptors.gemini import Gemini
from adaptors.gemini_paths import GEMINI_PATHS
from adaptors.translation.retelling import RetoldAnswer
from adaptors.values import Call, ProviderAccount, Usage
from relay_trio.testing.answers import vector
from relay_trio.testing.answers_gemini import VECTOR
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

TEXTS: Any = ["one two", "three"]
OPENAI = next(row for row in COMPATIBLE if row.name == "openai")
ACCOUNT = ProviderAccount("https://api.example", "k")


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "openai", "gemini") as stand:
        yield stand


# ---- A client of OpenAI's at Gemini


@pytest.mark.parametrize("form", ["base64", "float", None])
async def test_a_client_of_openais_gets_geminis_embeddings(stand: WireStand, form: Any) -> None:
    """As numbers, or in base64, which the SDK asks for by itself; the tokens are told on."""
    more: Any = {"encoding_format": form} if form else {}
    answer = await stand.with_openai(lambda sdk: sdk.embeddings.create(model="gemini-e", input=TEXTS, **more))
    got = [one.embedding for one in answer.data]
    if form == "base64":  # asked for by name, it stays as it came
        assert all(isinstance(one, str) for one in got)
    else:
        assert got == [list(VECTOR)] * 2
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.model == "gemini-e"
    assert answer.usage.prompt_tokens > 0
    assert stand.sent("gemini") == {
        "requests": [{"model": "models/gemini-e", "content": {"parts": [{"text": text}]}} for text in TEXTS]
    }
    request = stand.upstreams["gemini"].requests[-1]
    assert request.path == "/v1beta/models/gemini-e:batchEmbedContents"
    assert (request.get("x-goog-api-key"), request.get("authorization")) == (PROVIDER_KEY, None)
    (line,) = stand.relay.finished()
    assert (line["model"], line["channel"], line["input_tokens"]) == ("gemini-e", "gemini", answer.usage.prompt_tokens)


async def test_one_text_with_fewer_dimensions(stand: WireStand) -> None:
    """What Gemini cannot be told is named."""
    raw = await stand.with_openai(
        lambda sdk: sdk.embeddings.with_raw_response.create(model="gemini-e", input="x", dimensions=1, user="u")
    )
    assert raw.parse().data[0].embedding == [VECTOR[0]]
    assert raw.headers["x-relay-dropped"] == "user"


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
async def test_tokens_are_refused(stand: WireStand, tokens: Any) -> None:
    """They are OpenAI's; 400, and the field is named."""
    with pytest.raises(openai.BadRequestError, match="holds tokens") as raised:
        await stand.with_openai(lambda sdk: sdk.embeddings.create(model="gemini-e", input=tokens))
    assert raised.value.param == "input"
    assert stand.upstreams["gemini"].request_count == 0


async def test_an_error_is_typed(stand: WireStand) -> None:
    """With the wait."""
    stand.upstreams["gemini"].script.always = "answer;status=429"
    with pytest.raises(openai.RateLimitError) as raised:
        await stand.with_openai(lambda sdk: sdk.embeddings.create(model="gemini-e", input="x"))
    assert raised.value.response.headers["retry-after"] == "12"


# ---- A client of Gemini's at OpenAI


async def test_a_client_of_geminis_gets_openais_embeddings(stand: WireStand) -> None:
    """The SDK asks for a batch, whatever it is given; its task and title are OpenAI's not to know."""
    config = types.EmbedContentConfig(output_dimensionality=3, task_type="RETRIEVAL_DOCUMENT", title="t")
    answer = await stand.with_gemini(lambda sdk: sdk.models.embed_content(model="gpt-e", contents=TEXTS, config=config))
    assert [one.values for one in answer.embeddings or []] == [vector(text, 3) for text in TEXTS]
    sent = stand.sent("openai")
    assert sent == {"model": "gpt-e", "input": TEXTS, "encoding_format": "float", "dimensions": 3}
    assert stand.relay.finished()[-1]["dropped"] == ["taskType", "title"]


async def test_one_content_has_one_embedding(stand: WireStand) -> None:
    """In the form of `:embedContent`."""
    body = {"content": {"parts": [{"text": "one"}, {"text": "two"}]}}
    async with connect(stand.relay.url) as client:
        await client.post_json("/v1beta/models/gpt-e:embedContent", body, CLIENT_KEY)
        response = await client.read_response()
    assert response.json()["embedding"]["values"] == vector("one\ntwo", 8)
    assert response.json()["usageMetadata"]["promptTokenCount"] > 0


async def test_errors_of_openai_are_typed_for_gemini(stand: WireStand) -> None:
    """In Google's shape."""
    stand.upstreams["openai"].script.always = "answer;status=404"
    with pytest.raises(errors.ClientError) as raised:
        await stand.with_gemini(lambda sdk: sdk.models.embed_content(model="gpt-e", contents="x"))
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")


# ---- What is refused, and what is no answer


def gemini_call(method: str, **document: Any) -> Call:
    path = f"/models/m:{method}".encode()
    endpoint = GEMINI_PATHS.match(b"POST", path)
    assert endpoint is not None
    return Call(endpoint, "gemini", b"POST", path, b"", (), json.dumps(document).encode(), model="m")


TEXT: Any = {"content": {"parts": [{"text": "x"}]}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"requests": [{**TEXT, "outputDimensionality": 5}, {**TEXT, "outputDimensionality": 6}]}, "requests"),
    ({"requests": [TEXT, {"content": {"parts": [{"inlineData": {}}]}}]}, "requests[1].content.parts[0]"),
    ({"requests": [{}]}, "requests[0].content"),
]


@pytest.mark.parametrize(("document", "param"), REFUSED)
def test_what_would_get_a_wrong_answer_is_refused(document: dict[str, Any], param: str) -> None:
    """The field is named."""
    with pytest.raises(BadBody) as refused:
        OPENAI.request(gemini_call("batchEmbedContents", **document), ACCOUNT, "m")
    assert refused.value.param == param


def test_a_mapped_model_has_its_providers_name_in_what_is_sent() -> None:
    """A call of the provider's own clients goes up as it came."""
    call = gemini_call("batchEmbedContents", requests=[TEXT])
    request = OPENAI.request(call, ACCOUNT, "text-embedding-3-small")
    assert json.loads(request.body or b"")["model"] == "text-embedding-3-small"
    there = Gemini().request(gemini_call("embedContent", **TEXT), ACCOUNT, "m")
    assert json.loads(there.body or b"") == TEXT


NO_ANSWERS = [
    (b'{"data": []}', "0 embeddings for 1"),
    (b'{"data": [{"embedding": "AAAA"}]}', "no list of numbers"),
    (b'{"data": [{"embedding": [1]}, {"embedding": [2]}]}', "2 embeddings for 1"),
    (b'{"error": {"message": "no"}}', "no"),
    (b"[]", "no object"),
]


@pytest.mark.parametrize(("body", "why"), NO_ANSWERS)
def test_what_is_no_answer_fails(body: bytes, why: str) -> None:
    """Also an error in a 200's clothes."""
    with pytest.raises(AnswerFailed, match=why):
        RetoldAnswer(gemini_call("embedContent", **TEXT), "m").whole(body)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    """By their index, in whatever order they come."""
    reader = RetoldAnswer(gemini_call("batchEmbedContents", requests=[TEXT, TEXT]), "m")
    body = (
        b'{"data": [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 9}}'
    )
    assert json.loads(reader.whole(body))["embeddings"] == [{"values": [0.5]}, {"values": [1]}]
    assert reader.usage == Usage(9)


def test_a_number_too_large_for_base64_is_no_answer() -> None:
    """Where float32 was asked for."""
    endpoint = OPENAI_PATHS.match(b"POST", b"/embeddings")
    assert endpoint is not None
    body = b'{"model":"m","input":"x","encoding_format":"base64"}'
    asked = Call(endpoint, "openai_chat", b"POST", b"/embeddings", b"", (), body, model="m")
    with pytest.raises(AnswerFailed, match="float32"):
        RetoldAnswer(asked, "m").whole(b'{"embeddings": [{"values": [1e300]}]}')
