"""The official OpenAI SDK, unmodified, with only its address and its key changed, against the running relay.

The SDK is synchronous, so it works in a thread, on the real clock. What it makes of an answer is the measure: nothing
that we send may make it behave otherwise than against the provider itself.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import openai
import pytest
import trio
from openai import APIError, OpenAI
from openai.types.chat import ChatCompletionToolParam
from stand import PROVIDER_KEY, Stand, open_stand, open_with

from relay_trio.testing.answers import WORDS
from relay_trio.testing.fake_upstream import refused_address
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.script import Behaviour

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

Result = TypeVar("Result")

MODEL = "fake-small"
TEXT = "".join(WORDS)
ASK: Any = [{"role": "user", "content": "Say something."}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
BINARY = bytes(range(256)) * 300
"""Is no text in any encoding, and is not read in one piece."""


@attrs.frozen(eq=False)
class Client:
    """An SDK client in a thread, and what stands behind it."""

    stand: Stand
    openai: OpenAI

    async def do(self, work: Callable[[OpenAI], Result]) -> Result:
        """Let the SDK work in a thread; return what it made of the answers."""
        return await trio.to_thread.run_sync(work, self.openai)

    async def fails(self, work: Callable[[OpenAI], object], error: type[APIError]) -> Any:
        """Let the SDK work; return the error that it raises."""
        return await fails(self.openai, work, error)


async def fails(client: OpenAI, work: Callable[[OpenAI], object], error: type[APIError]) -> Any:
    """Let an SDK client work in a thread; return the error that it raises, which is of exactly this type."""
    with pytest.raises(error) as caught:
        await trio.to_thread.run_sync(work, client)
    assert type(caught.value) is error
    return caught.value


@asynccontextmanager
async def sdk(
    directory: Path, behaviour: Behaviour = "answer", *, key: str = CLIENT_KEY, retries: int = 0, **tables: Any
) -> AsyncIterator[Client]:
    """Run a relay before a provider that does this, and an SDK client of it. Everything must be at rest afterwards."""
    async with open_stand(directory, behaviour, **tables) as stand:
        with OpenAI(base_url=f"{stand.relay.url}/v1", api_key=key, max_retries=retries, timeout=30) as client:
            yield Client(stand, client)
        await stand.rest()
        upstream_keys = {request.get("authorization") for request in stand.upstream.requests}
        assert upstream_keys <= {f"Bearer {PROVIDER_KEY}"}


# Chat


async def test_chat(tmp_path: Path) -> None:
    """A completion arrives with its text, its usage, its model, and the id under which the relay's log knows it."""
    async with sdk(tmp_path) as client:
        answer = await client.do(lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK))
        assert answer.choices[0].message.content == TEXT
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == MODEL
        assert answer.usage is not None
        assert answer.usage.completion_tokens == len(WORDS)
        line = await client.stand.line()
        assert answer._request_id == line["request_id"]
        assert line["output_tokens"] == len(WORDS)


async def test_chat_stream(tmp_path: Path) -> None:
    """Chunks come as the provider sent them, to the end; usage is there for who asked."""
    async with sdk(tmp_path) as client:

        def work(sdk: OpenAI) -> tuple[list[str | None], list[int]]:
            stream = sdk.chat.completions.create(
                model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
            )
            chunks = list(stream)
            usage = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage is not None]
            return [choice.delta.content for chunk in chunks for choice in chunk.choices], usage

        words, usage = await client.do(work)
        assert [word for word in words if word] == list(WORDS)
        assert usage == [len(WORDS)]
        assert (await client.stand.line())["outcome"] == "completed"


async def test_a_stream_that_is_left_ends_the_work(tmp_path: Path) -> None:
    """`break` in the SDK closes the connection; the provider's is closed with it."""
    async with sdk(tmp_path, "endless-body") as client:

        def work(sdk: OpenAI) -> str | None:
            with sdk.chat.completions.create(model=MODEL, messages=ASK, stream=True) as stream:
                for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        return chunk.choices[0].delta.content
            return None

        assert await client.do(work)
        await client.stand.upstream.wait_no_connections()
        assert (await client.stand.line())["outcome"] == "client_disconnected"


async def test_tools(tmp_path: Path) -> None:
    """A tool call comes whole, and in fragments that join to the same; its result leads to the answer."""
    async with sdk(tmp_path) as client:
        answer = await client.do(lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER]))
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert answer.choices[0].finish_reason == "tool_calls"
        assert json.loads(call.function.arguments) == {"city": "Utrecht"}

        def stream(sdk: OpenAI) -> tuple[str, str]:
            with sdk.chat.completions.stream(model=MODEL, messages=ASK, tools=[WEATHER]) as events:
                for _ in events:
                    pass
                (made,) = events.get_final_completion().choices[0].message.tool_calls or []
                return made.function.name, made.function.arguments

        assert await client.do(stream) == ("weather", call.function.arguments)
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        said: Any = answer.choices[0].message.to_dict()
        last = await client.do(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=[*ASK, said, result], tools=[WEATHER])
        )
        assert last.choices[0].message.content == TEXT


async def test_a_mapped_model_keeps_the_clients_name(tmp_path: Path) -> None:
    """The provider is asked for its own name of the model; the client sees the one that it used."""
    async with sdk(tmp_path, channel='model_map = { "house-model" = "fake-large" }') as client:

        def work(sdk: OpenAI) -> tuple[str, set[str]]:
            whole = sdk.chat.completions.create(model="house-model", messages=ASK)
            stream = sdk.chat.completions.create(model="house-model", messages=ASK, stream=True)
            return whole.model, {chunk.model for chunk in stream}

        assert await client.do(work) == ("house-model", {"house-model"})
        assert {request.json()["model"] for request in client.stand.upstream.requests} == {"fake-large"}


# Responses


async def test_responses(tmp_path: Path) -> None:
    """Create, stream, retrieve, list the input, cancel, delete: the stored object is found where it was made."""
    async with sdk(tmp_path) as client:
        made = await client.do(lambda sdk: sdk.responses.create(model=MODEL, input="Say something."))
        assert made.output_text == TEXT

        def stream(sdk: OpenAI) -> tuple[str, str]:
            with sdk.responses.stream(model=MODEL, input="Say something.") as events:
                deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
                return "".join(deltas), events.get_final_response().output_text

        assert await client.do(stream) == (TEXT, TEXT)
        again = await client.do(lambda sdk: sdk.responses.retrieve(made.id))
        assert again.output_text == TEXT
        items = await client.do(lambda sdk: sdk.responses.input_items.list(made.id).data)
        assert [item.type for item in items] == ["message"]
        assert (await client.do(lambda sdk: sdk.responses.cancel(made.id))).status == "cancelled"
        await client.do(lambda sdk: sdk.responses.delete(made.id))
        await client.fails(lambda sdk: sdk.responses.retrieve(made.id), openai.NotFoundError)


async def test_an_error_in_a_stream_of_responses_is_raised(tmp_path: Path) -> None:
    """Our error event has the form that the SDK raises, not the one that it yields as if it were content."""
    async with sdk(tmp_path, "close-after-head", relay="max_attempts = 1") as client:
        error = await client.fails(
            lambda sdk: list(sdk.responses.create(model=MODEL, input="Say something.", stream=True)),
            openai.InternalServerError,
        )
        assert error.status_code == 502
    async with sdk(tmp_path, "truncated-chunked;after=6") as client:
        error = await client.fails(
            lambda sdk: list(sdk.responses.create(model=MODEL, input="Say something.", stream=True)), openai.APIError
        )
        assert "broke" in error.message


# Everything else


async def test_embeddings(tmp_path: Path) -> None:
    """The SDK asks for base64 unasked, and for floats when told to; both are the same numbers."""
    async with sdk(tmp_path) as client:
        packed = await client.do(lambda sdk: sdk.embeddings.create(model=MODEL, input=["a", "b"]))
        floats = await client.do(
            lambda sdk: sdk.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
        )
        assert [one.embedding for one in packed.data] == [one.embedding for one in floats.data]
        assert len(struct.pack("8f", *packed.data[0].embedding)) == 32


async def test_files(tmp_path: Path) -> None:
    """A file goes up as a form and comes down as bytes, whatever is in it."""
    async with sdk(tmp_path) as client:
        made = await client.do(lambda sdk: sdk.files.create(file=("data.bin", io.BytesIO(BINARY)), purpose="batch"))
        assert (made.bytes, made.filename) == (len(BINARY), "data.bin")
        assert await client.do(lambda sdk: sdk.files.content(made.id).read()) == BINARY
        assert [one.id for one in await client.do(lambda sdk: sdk.files.list().data)] == [made.id]
        assert (await client.do(lambda sdk: sdk.files.retrieve(made.id))).id == made.id
        assert (await client.do(lambda sdk: sdk.files.delete(made.id))).deleted
        await client.fails(lambda sdk: sdk.files.retrieve(made.id), openai.NotFoundError)


async def test_audio(tmp_path: Path) -> None:
    """Speech comes down as bytes; a recording goes up as a form that names its model last."""
    async with sdk(tmp_path) as client:
        speech = await client.do(lambda sdk: sdk.audio.speech.create(model=MODEL, voice="alloy", input="hi").read())
        assert speech.startswith(b"ID3\x04\x00")
        assert len(speech) == 5 + 32 * 256
        heard = await client.do(lambda sdk: sdk.audio.transcriptions.create(model=MODEL, file=("talk.wav", BINARY)))
        assert heard.text.startswith(f"{len(BINARY)} bytes ")
        assert {line["model"] for line in client.stand.relay.finished()} == {MODEL}


async def test_images_and_moderations(tmp_path: Path) -> None:
    """Two more of the API's paths, each with an answer of its own shape."""
    async with sdk(tmp_path) as client:
        images = await client.do(lambda sdk: sdk.images.generate(model=MODEL, prompt="a fox", n=2))
        assert len(images.data or []) == 2
        edited = await client.do(lambda sdk: sdk.images.edit(model=MODEL, image=("fox.png", BINARY), prompt="red"))
        assert edited.data
        verdict = await client.do(lambda sdk: sdk.moderations.create(model=MODEL, input="hello"))
        assert not verdict.results[0].flagged


async def test_models(tmp_path: Path) -> None:
    """The list is what this key may use; the provider that names none in the configuration was asked for its own."""
    async with sdk(tmp_path) as client:
        names = await client.do(lambda sdk: [model.id for model in sdk.models.list()])
        assert names == ["fake-small", "fake-large"]
        assert (await client.do(lambda sdk: sdk.models.retrieve("fake-large"))).id == "fake-large"
        await client.fails(lambda sdk: sdk.models.retrieve("no-such-model"), openai.NotFoundError)


async def test_raw_responses_and_unknown_paths(tmp_path: Path) -> None:
    """Header fields and paths that nobody here knows of cross the relay as they are."""
    async with sdk(tmp_path) as client:
        raw = await client.do(lambda sdk: sdk.chat.completions.with_raw_response.create(model=MODEL, messages=ASK))
        assert raw.headers["x-ratelimit-remaining-requests"] == "4999"
        assert "set-cookie" not in raw.headers
        echo = await client.do(lambda sdk: sdk.post("/fine_tuning/jobs", body={"model": MODEL}, cast_to=dict[str, Any]))
        assert (echo["object"], echo["method"], echo["path"]) == ("echo", "POST", "/v1/fine_tuning/jobs")


# Errors, as the SDK types them


async def test_a_wrong_key(tmp_path: Path) -> None:
    """AuthenticationError, from the relay itself, and the provider never hears of it."""
    async with sdk(tmp_path, key="sk-nobody") as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.AuthenticationError
        )
        assert error.code == "invalid_api_key"
        assert error.request_id == (await client.stand.line())["request_id"]
        assert not client.stand.upstream.requests


async def test_a_bad_request(tmp_path: Path) -> None:
    """BadRequestError with the field that is at fault: ours where we see it, the provider's where it does."""
    async with sdk(tmp_path, "answer;status=400") as client:
        error = await client.fails(
            lambda sdk: sdk.post("/chat/completions", body={"messages": []}, cast_to=dict[str, Any]),
            openai.BadRequestError,
        )
        assert error.param == "model"
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.BadRequestError
        )
        assert "told to" in error.message


async def test_an_unknown_model(tmp_path: Path) -> None:
    """NotFoundError, as from the provider."""
    async with sdk(tmp_path, channel='models = ["fake-*"]') as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model="gpt-0", messages=ASK), openai.NotFoundError
        )
        assert (error.code, error.param) == ("model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit(tmp_path: Path, *, stream: bool) -> None:
    """RateLimitError with the provider's own words and its Retry-After, also where a stream was asked for."""
    async with sdk(tmp_path, "retry-after-seconds;status=429;retry_after=7") as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK, stream=stream), openai.RateLimitError
        )
        assert error.response.headers["retry-after"] == "7"
        assert error.code == "rate_limit_exceeded"
        assert error.body["message"]


async def test_a_rate_limit_whose_body_breaks_off(tmp_path: Path) -> None:
    """A 429 stays a 429: the SDK backs off, where a broken connection would have made it try again at once."""
    async with sdk(tmp_path, "truncated-length;status=429") as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.RateLimitError
        )
        assert error.body["message"]


async def test_a_provider_that_cannot_be_reached(tmp_path: Path) -> None:
    """InternalServerError 502 that says so, without an address or a name of ours."""
    host, port = refused_address()
    channel = (
        f'name = "nowhere"\nadaptor = "openai"\nbase_url = "http://{host}:{port}/v1"\napi_keys = ["{PROVIDER_KEY}"]'
    )
    async with open_with(tmp_path, f"[[channels]]\n{channel}") as relay:
        with OpenAI(base_url=f"{relay.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
            error = await fails(
                client, lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.InternalServerError
            )
    assert (error.status_code, error.code) == (502, "upstream_connect_failed")
    assert str(port) not in str(error)
    assert "nowhere" not in str(error)


async def test_a_clock_that_fires_is_not_tried_again(tmp_path: Path) -> None:
    """InternalServerError 504 with the clock's name; the SDK, told to, does not ask three times for a whole deadline."""
    async with sdk(tmp_path, "silent-before-head", limits="headers = 0.2", retries=2) as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.InternalServerError
        )
        assert (error.status_code, error.code) == (504, "upstream_headers_timeout")
        assert error.body["setting"] == "RELAY_HEADER_TIMEOUT"
        assert len(client.stand.upstream.requests) == 1


async def test_what_may_be_tried_again_is(tmp_path: Path) -> None:
    """The SDK retries a 429 as often as against the provider, when it is told to, and returns the third answer."""
    async with sdk(tmp_path, retries=2) as client:
        client.stand.upstream.script.enqueue(*["retry-after-ms;retry_after=0.01"] * 2)
        answer = await client.do(lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK))
        assert answer.choices[0].message.content == TEXT
        assert len(client.stand.upstream.requests) == 3
        assert [line["status"] for line in client.stand.relay.finished()] == [429, 429, 200]


async def test_an_error_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """APIError after the words that had come: never an end that looks like success."""
    async with sdk(tmp_path, "reset-mid-body;after=4") as client:
        words: list[str] = []

        def work(sdk: OpenAI) -> None:
            for chunk in sdk.chat.completions.create(model=MODEL, messages=ASK, stream=True):
                words.extend(choice.delta.content or "" for choice in chunk.choices)

        error = await client.fails(work, openai.APIError)
        assert error.code == "upstream_connection_broke"
        assert "".join(words)
        assert TEXT.startswith("".join(words))


async def test_a_provider_that_refuses_our_key(tmp_path: Path) -> None:
    """A 502 that says whose key it was: the client's own is right, and its user must not be sent to change it."""
    async with sdk(tmp_path, "answer;status=401") as client:
        error = await client.fails(
            lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASK), openai.InternalServerError
        )
        assert (error.status_code, error.code) == (502, "channel_unauthorized")
