"""Providers with ways of their own, behind a running relay: xAI, Azure, OpenRouter; real sockets, raw clients."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import attrs
import pytest
import trio
from stand import open_with

from relay_trio.relay.preparing import MAX_FETCHES
from relay_trio.testing.answers import WORDS, Json
from relay_trio.testing.answers_anthropic import AnthropicProvider
from relay_trio.testing.answers_gemini import GeminiProvider
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import Response, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest
from relay_trio.testing.script import Behaviour

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "q"}]
JSON = ((b"content-type", b"application/json"),)
STREAM = ((b"content-type", b"text/event-stream"),)


def says(body: object, status: int = 200) -> Behaviour:
    """Return the behaviour of answering with this JSON, or these bytes of a stream."""

    async def say(conversation: Conversation) -> None:
        if isinstance(body, bytes):
            await conversation.send_in_place(status, STREAM if body else (), body)
        else:
            await conversation.send_in_place(status, JSON, json.dumps(body).encode())

    return say


async def ask(relay: RelayUnderTest, method: str, path: str, body: Json | None = None) -> Response:
    """Ask on a connection of its own."""
    async with connect(relay.url) as client:
        data = None if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {CLIENT_KEY}"), ("content-type", "application/json")]
        await client.request(method, path, headers, data)
        return await client.read_response()


async def rest(relay: RelayUnderTest) -> None:
    """Hold the relay to its rest."""
    await relay.wait_at_rest()
    with trio.fail_after(6):
        while relay.live():  # noqa: ASYNC110 - counts wake nobody
            await trio.sleep(0.05)


@asynccontextmanager
async def relayed(
    directory: Path, *channels: tuple[str, str, str], environ: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[RelayUnderTest, Any]]:
    """Run a relay with channels (name, adaptor, more), each before a provider of its own."""
    async with open_fake_upstream() as one, open_fake_upstream() as other:
        upstreams = [one, other][: len(channels)]
        tables = (_table(*channel, upstream) for channel, upstream in zip(channels, upstreams, strict=True))
        toml = "".join(f"{table}\npriority = {-at}\n" for at, table in enumerate(tables))
        async with open_with(directory, toml, environ) as relay:
            yield relay, upstreams
            await rest(relay)


def _table(name: str, adaptor: str, more: str, upstream: FakeUpstream) -> str:
    address = "" if "base_url" in more else f'base_url = "{upstream.url}/v1"'
    more = more.replace("HERE", upstream.url)
    keys = 'api_keys = ["the-providers-own-key"]'
    return f'[[channels]]\nname = "{name}"\nadaptor = "{adaptor}"\n{address}\n{keys}\n{more}\n'


# xAI


async def test_a_deferred_completion_is_fetched_where_it_was_made(tmp_path: Path) -> None:
    """Of two channels the one that took it: 202 without a body until it is ready, then the completion, counted."""
    made = "f15c114e-f47d-40ca-8d5c-8c23d656eeb6"
    completion = {
        "id": "c1",
        "object": "chat.completion",
        "model": "grok-4",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 7,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    }
    body = {"model": "grok-4", "messages": QUESTION, "deferred": True}
    async with relayed(tmp_path, ("b", "xai", ""), ("a", "xai", "")) as (relay, (b, a)):
        a.script.always = says({"code": "c", "error": "not here"}, 404)
        b.script.enqueue(says({"request_id": made}), says(b"", 202), says(completion))
        assert (await ask(relay, "POST", "/v1/chat/completions", body)).json() == {"request_id": made}
        path = f"/v1/chat/deferred-completion/{made}"
        waiting = await ask(relay, "GET", path)
        assert (waiting.status, waiting.body.data) == (202, b"")
        ready = await ask(relay, "GET", path)
        assert ready.json() == completion
        assert (a.request_count, b.request_count) == (0, 3)
        await rest(relay)
        assert relay.finished()[-1]["output_tokens"] == 6


# Azure


async def test_a_deployment_answers_by_its_name(tmp_path: Path) -> None:
    """The channel that lists it is asked, below its own path, with the key in its own header and no other."""
    azure = ("azure", "azure", 'base_url = "HERE"\nmodels = ["my-gpt"]\noptions = {api_version = "2024-10-21"}')
    async with relayed(tmp_path, ("openai", "openai", 'models = ["gpt-x"]'), azure) as (relay, (openai, upstream)):
        for stream in (False, True):
            body = {"model": "my-gpt", "messages": QUESTION, "stream": stream}
            answer = await ask(relay, "POST", "/v1/chat/completions", body)
            assert answer.status == 200
        request = upstream.requests[-1]
        assert request.target == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
        assert (request.get("api-key"), request.get("authorization")) == ("the-providers-own-key", None)
        assert openai.request_count == 0


async def test_its_variables_are_enough(tmp_path: Path) -> None:
    """Without a file: key, endpoint and version."""
    async with open_fake_upstream() as upstream:
        environ = {
            "AZURE_OPENAI_API_KEY": "az-key",
            "AZURE_OPENAI_ENDPOINT": upstream.url,
            "OPENAI_API_VERSION": "2024-10-21",
        }
        async with open_with(tmp_path, "", environ) as relay:
            assert relay.process.settings.sources["channels[0]"] == "AZURE_OPENAI_API_KEY"
            body = {"model": "my-gpt", "input": "q"}
            answer = await ask(relay, "POST", "/v1/embeddings", body)
            assert answer.status == 200
            target = upstream.requests[-1].target
            assert target == "/openai/deployments/my-gpt/embeddings?api-version=2024-10-21"


# OpenRouter: https://openrouter.ai/docs/api/reference/errors-and-debugging

METADATA = {"provider_name": "Novita", "raw": "upstream said no"}
CHUNK: Mapping[str, Any] = {"id": "gen-1", "object": "chat.completion.chunk", "model": "m", "provider": "Novita"}
PROCESSING = b": OPENROUTER PROCESSING\n\n"


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def a_word(word: str) -> bytes:
    return event({**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]})


def the_failure(code: int) -> dict[str, Any]:
    return {"code": code, "message": "The model has failed.", "metadata": METADATA}


@pytest.mark.parametrize(
    "body",
    [
        {"error": the_failure(429), "user_id": "u"},
        {"id": "gen-1", "choices": [{"index": 0, "finish_reason": "error", "error": the_failure(429)}]},
    ],
)
async def test_an_error_inside_a_200_has_its_own_status(tmp_path: Path, body: Json) -> None:
    """Its code, its message and its metadata reach the client, as an error."""
    async with relayed(tmp_path, ("or", "openrouter", "")) as (relay, (upstream,)):
        upstream.script.always = says(body)
        answer = await ask(relay, "POST", "/v1/chat/completions", {"model": "m", "messages": QUESTION})
        assert (answer.status, answer.json()) == (429, {"error": the_failure(429)})


async def test_another_channel_answers_instead(tmp_path: Path) -> None:
    """An error inside a 200, before content, is an attempt that failed; comments are no content."""
    body = {"model": "m", "messages": QUESTION, "stream": True}
    async with relayed(tmp_path, ("or", "openrouter", ""), ("b", "openai", "")) as (relay, (first, second)):
        for answer in (PROCESSING * 3 + event({**CHUNK, "error": the_failure(502)}), event(the_failure(502))):
            first.script.always = says(answer)
            got = await ask(relay, "POST", "/v1/chat/completions", body)
            assert got.status == 200
            assert got.body.data.endswith(b"data: [DONE]\n\n")
            assert b"error" not in got.body.data
        assert second.request_count == 2


async def test_an_error_in_the_middle_of_a_stream_is_the_last_event(tmp_path: Path) -> None:
    """With code and metadata; what came before it stays, the comments too."""
    failing = {**CHUNK, "error": the_failure(502), "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    sent = PROCESSING + a_word("Hello") + PROCESSING + event(failing)
    async with relayed(tmp_path, ("or", "openrouter", "")) as (relay, (upstream,)):
        upstream.script.always = says(sent)
        got = await ask(relay, "POST", "/v1/chat/completions", {"model": "m", "messages": QUESTION, "stream": True})
        passed = PROCESSING + a_word("Hello") + PROCESSING
        assert got.body.data.startswith(passed)
        told = json.loads(got.body.data[len(passed) :].removeprefix(b"data: "))
        assert told == {"error": the_failure(502)}


async def test_mistral_is_not_asked_for_what_it_refuses(tmp_path: Path) -> None:
    """`ask_usage` asks only where stream_options are known; it counts unasked."""
    channels = (
        ("m", "mistral", 'ask_usage = true\nmodels = ["mistral-*"]'),
        ("o", "openai", 'ask_usage = true\nmodels = ["gpt-x"]'),
    )
    async with relayed(tmp_path, *channels) as (relay, (mistral, openai)):
        for model, upstream, asked in (("mistral-x", mistral, False), ("gpt-x", openai, True)):
            body = {"model": model, "messages": QUESTION, "stream": True}
            assert (await ask(relay, "POST", "/v1/chat/completions", body)).status == 200
            assert ("stream_options" in upstream.requests[-1].json()) == asked
        translated = {"model": "mistral-x", "max_tokens": 9, "messages": QUESTION, "stream": True}
        assert (await ask(relay, "POST", "/v1/messages", translated)).status == 200
        assert "stream_options" not in mistral.requests[-1].json()


async def test_mistral_reads_its_seed_under_its_own_name(tmp_path: Path) -> None:
    """It answers 422 to a field that it does not know."""
    async with relayed(tmp_path, ("m", "mistral", "")) as (relay, (mistral,)):
        body = {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "generationConfig": {"seed": 7},
        }
        assert (await ask(relay, "POST", "/v1beta/models/mistral-x:generateContent", body)).status == 200
        sent = mistral.requests[-1].json()
        assert (sent.get("random_seed"), "seed" in sent) == (7, False)


# What a request points to, for a provider that takes bytes only

HERE = {"RELAY_FETCH_NETWORKS": "127.0.0.1/32"}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GEMINI = ("gemini", "gemini", 'base_url = "HERE"')


def gives(body: bytes, content_type: bytes = b"image/png", status: int = 200) -> Behaviour:
    async def give(conversation: Conversation) -> None:
        await conversation.send_in_place(status, ((b"content-type", content_type),), body)

    return give


def showing(*urls: str, **more: object) -> Json:
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"model": "gemini-x", "messages": [{"role": "user", "content": pictures}], **more}


async def test_a_picture_is_fetched_for_who_takes_bytes_only(tmp_path: Path) -> None:
    """Once, though it is shown twice and a second channel must be asked; the provider gets what stood there."""
    channels = (GEMINI, ("other", "gemini", 'base_url = "HERE"'))
    async with open_fake_upstream(gives(PIXEL)) as images, relayed(tmp_path, *channels, environ=HERE) as (relay, two):
        for upstream in two:
            upstream.provider = GeminiProvider()
        two[0].script.always = "answer;status=503"
        url = f"{images.url}/a.png"
        answer = await ask(relay, "POST", "/v1/chat/completions", showing(url, url))
        assert answer.status == 200
        inline = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PIXEL).decode()}}
        for upstream in two:
            assert upstream.requests[-1].json()["contents"][0]["parts"] == [inline, inline]
        assert images.request_count == 1
        await rest(relay)
        assert "fetch_ms" not in relay.finished()[-1] or relay.finished()[-1]["fetch_ms"] >= 0


@pytest.mark.parametrize(
    ("address", "environ", "said"),
    [
        ("{}/a.png", {}, "not on the public internet"),
        ("http://169.254.169.254/latest/meta-data/", HERE, "not on the public internet"),
        ("{}/page", HERE, "neither an image nor a PDF"),
        ("{}/leads-inside", HERE, "not on the public internet"),
        ("{}/large", {**HERE, "RELAY_FETCH_MAX_BYTES": "1KiB"}, "larger than 1024 bytes"),
    ],
)
async def test_what_cannot_be_fetched_is_told(
    tmp_path: Path, address: str, environ: Mapping[str, str], said: str
) -> None:
    """Which of the files, and why; the address is not repeated, and the provider is not asked."""
    async with open_fake_upstream(gives(PIXEL)) as images, relayed(tmp_path, GEMINI, environ=environ) as (relay, (up,)):
        away = b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
        images.script.by_path = {
            "page": gives(b"<html>", b"text/html"),
            "leads": lambda conversation: conversation.send(away),
            "large": gives(bytes(2000)),
        }
        body = showing("data:image/png;base64,aaaa", address.format(images.url))
        answer = await ask(relay, "POST", "/v1/chat/completions", body)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "url_not_fetched", "messages")
        assert "number 1: " in error["message"]
        assert said in error["message"]
        assert "http" not in error["message"]
        assert up.request_count == 0


async def test_what_is_fetched_counts_among_the_bodies(tmp_path: Path) -> None:
    """Piece by piece, so that many pictures cannot fill the memory; it is given back when the request is over."""
    environ = {**HERE, "RELAY_MAX_BUFFERED_BYTES": "16KiB"}
    async with open_fake_upstream(gives(bytes(20_000))) as images, relayed(tmp_path, GEMINI, environ=environ) as found:
        relay, (upstream,) = found
        answer = await ask(relay, "POST", "/v1/chat/completions", showing(images.url))
        assert answer.status in {413, 503}
        assert upstream.request_count == 0
        await rest(relay)
        assert relay.running.services.budget.used == 0


async def test_another_provider_may_take_the_address(tmp_path: Path) -> None:
    """Who takes addresses gets it as it is; the relay fetches nothing for it."""
    claude = ("claude", "anthropic", 'base_url = "HERE"\nmodels = ["gemini-x"]')
    async with relayed(tmp_path, GEMINI, claude) as (relay, (_, upstream)):
        upstream.provider = AnthropicProvider()
        answer = await ask(relay, "POST", "/v1/chat/completions", showing("http://10.0.0.1/a.png"))
        assert answer.status == 200
        (block,) = upstream.requests[-1].json()["messages"][0]["content"]
        assert block == {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}}


async def test_a_drip_ends_at_the_quick_limit(tmp_path: Path) -> None:
    """Which the error names; nothing is left open."""

    async def drips(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            await conversation.link.pause(1)
            await conversation.send(b"x")

    environ = {**HERE, "RELAY_QUICK_TIMEOUT": "20"}
    async with open_fake_upstream(drips) as images, relayed(tmp_path, GEMINI, environ=environ) as (relay, (up,)):
        answer = await ask(relay, "POST", "/v1/chat/completions", showing(images.url))
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["phase"]) == (504, "fetch_timeout", "fetch")
        assert error["setting"] == "RELAY_QUICK_TIMEOUT"
        assert up.request_count == 0
        await images.wait_no_connections()


async def test_so_many_files_at_most(tmp_path: Path) -> None:
    """More are refused before one is fetched."""
    async with relayed(tmp_path, GEMINI) as (relay, _):
        urls = [f"http://10.0.0.1/{number}" for number in range(MAX_FETCHES + 1)]
        answer = await ask(relay, "POST", "/v1/chat/completions", showing(*urls))
        assert (answer.status, answer.json()["error"]["code"]) == (400, "url_not_fetched")
        assert f"fetches {MAX_FETCHES} at most" in answer.json()["error"]["message"]


async def test_an_operator_may_switch_it_off(tmp_path: Path) -> None:
    """Then the provider is told the address, and left to say."""
    environ = {"RELAY_FETCH_MAX_BYTES": "off"}
    async with relayed(tmp_path, GEMINI, environ=environ) as (relay, (upstream,)):
        upstream.provider = GeminiProvider()
        answer = await ask(relay, "POST", "/v1/chat/completions", showing("https://x.example/a.png"))
        assert answer.status == 200
        (part,) = upstream.requests[-1].json()["contents"][0]["parts"]
        assert part["fileData"]["fileUri"] == "https://x.example/a.png"


# Bedrock


def message(payload: bytes, **texts: str) -> bytes:
    """Return one message of an AWS event stream."""
    named = ((":" + name.replace("_", "-")).encode() for name in texts)
    pairs = zip(named, (text.encode() for text in texts.values()), strict=True)
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + len(text).to_bytes(2, "big") + text for name, text in pairs
    )
    prelude = (len(headers) + len(payload) + 16).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    head = prelude + crc32(prelude).to_bytes(4, "big") + headers + payload
    return head + crc32(head).to_bytes(4, "big")


async def bedrock(conversation: Conversation) -> None:
    """Answer as Bedrock does, with what the Anthropic API would say."""
    model, action = conversation.request.path.removeprefix("/model/").split("/")
    asked = {**conversation.request.json(), "model": model, "stream": action.endswith("stream")}
    asked_of_anthropic = attrs.evolve(
        conversation.request.asked(), path="/v1/messages", body=json.dumps(asked).encode()
    )
    answer = AnthropicProvider().answer(asked_of_anthropic, conversation.fault.wanted())
    if not asked["stream"]:
        await conversation.send_in_place(200, JSON, answer.body)
        return
    found = re.findall(rb"^data: (.*)$", answer.body, re.MULTILINE)
    frames = (json.dumps({"bytes": base64.b64encode(data).decode()}).encode() for data in found)
    body = b"".join(message(frame, event_type="chunk", message_type="event") for frame in frames)
    await conversation.send_in_place(200, ((b"content-type", b"application/vnd.amazon.eventstream"),), body)


async def test_bedrock_serves_clients_of_anthropic_and_of_openai(tmp_path: Path) -> None:
    """Whole and streamed, signed at the moment of the attempt; a picture by its address is fetched."""
    model = "eu.anthropic.claude-x-v1:0"
    channel = ("b", "bedrock", 'base_url = "HERE"\noptions = {region = "eu-west-1"}')
    async with open_fake_upstream(gives(PIXEL)) as images, relayed(tmp_path, channel, environ=HERE) as (relay, (up,)):
        up.script.always = bedrock
        body = {"model": model, "max_tokens": 99, "messages": QUESTION}
        whole = await ask(relay, "POST", "/v1/messages", body)
        assert whole.json()["content"][0]["text"] == "".join(WORDS)
        streamed = await ask(relay, "POST", "/v1/messages", {**body, "stream": True})
        assert streamed.head.get("content-type") == "text/event-stream; charset=utf-8"
        assert streamed.body.data.endswith(b'{"type":"message_stop"}\n\n')
        chunks = await ask(relay, "POST", "/v1/chat/completions", {**body, "stream": True})
        assert chunks.body.data.endswith(b"data: [DONE]\n\n")
        shown = [{"type": "image", "source": {"type": "url", "url": images.url}}]
        await ask(relay, "POST", "/v1/messages", {**body, "messages": [{"role": "user", "content": shown}]})
        (picture,) = up.requests[-1].json()["messages"][0]["content"]
        assert picture["source"] == {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(PIXEL).decode(),
        }
        targets = {request.target for request in up.requests}
        path = "/model/eu.anthropic.claude-x-v1%3A0/invoke"
        assert targets == {path, f"{path}-with-response-stream"}
        await rest(relay)
        assert {line["output_tokens"] for line in relay.finished()} == {len(WORDS)}


async def test_bedrock_signs_with_a_pair_of_keys(tmp_path: Path) -> None:
    """That the environment holds, at the time of the relay's clock."""
    async with open_fake_upstream(bedrock) as upstream:
        environ = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "the/secret+key",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url,
        }
        async with open_with(tmp_path, "", environ) as relay:
            body = {"model": "anthropic.claude-x", "max_tokens": 9, "messages": QUESTION}
            assert (await ask(relay, "POST", "/v1/messages", body)).status == 200
            (request,) = upstream.requests
            today = dt.datetime.now(dt.UTC).strftime("%Y%m%d")
            assert (request.get("x-amz-date") or "").startswith(today)
            assert (request.get("authorization") or "").startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            assert not [line for line in relay.lines() if "the/secret" in json.dumps(line)]
