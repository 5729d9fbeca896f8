"""An honest answer of the fake upstream is what the official SDK expects of the provider."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import openai
import pytest
import trio

from relay_trio.testing import answers
from relay_trio.testing.answers import (
    MAX_SHELVED,
    WORDS,
    Asked,
    Provider,
    Wanted,
    parse_form,
    split,
)
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

SENTENCE = "".join(WORDS)

TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
MESSAGES: Any = [{"role": "user", "content": "one two three"}]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with open_fake_upstream() as upstream:
        yield upstream


Ask = Callable[[Callable[[openai.OpenAI], Any]], Awaitable[Any]]


@pytest.fixture
async def ask(upstream: FakeUpstream) -> AsyncIterator[Ask]:
    """Call the SDK in a thread: its asynchronous streams leave generators behind that trio complains of."""
    with openai.OpenAI(base_url=upstream.base_url(), api_key="sk-test", max_retries=0) as sdk:
        yield lambda work: trio.to_thread.run_sync(work, sdk)


# ---- Chat


async def test_chat(ask: Ask) -> None:
    """A chat completion has a message, a finish_reason and usage."""
    answer = await ask(lambda sdk: sdk.chat.completions.create(model="fake-small", messages=MESSAGES, n=2))

    assert [choice.message.content for choice in answer.choices] == [SENTENCE] * 2
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(WORDS)
    assert answer.model == "fake-small"


async def test_chat_stream(ask: Ask) -> None:
    """A streamed one has the same words, and the usage chunk for who asks for it."""
    chunks = await ask(
        lambda sdk: list(
            sdk.chat.completions.create(
                model="fake-small", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SENTENCE
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(WORDS)
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_no_usage_chunk_unasked(ask: Ask) -> None:
    """Who does not ask gets no usage chunk."""
    chunks = await ask(
        lambda sdk: list(sdk.chat.completions.create(model="fake-small", messages=MESSAGES, stream=True))
    )

    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_tools(ask: Ask) -> None:
    """With tools the model calls the first, whole or in fragments; with its result it speaks."""
    unary = await ask(lambda sdk: sdk.chat.completions.create(model="fake-small", messages=MESSAGES, tools=[TOOL]))

    def stream(sdk: openai.OpenAI) -> Any:
        with sdk.chat.completions.stream(model="fake-small", messages=MESSAGES, tools=[TOOL]) as stream:
            return stream.get_final_completion()

    streamed = await ask(stream)
    result: Any = [*MESSAGES, {"role": "tool", "tool_call_id": "call_fake_1", "content": "rain"}]
    spoken = await ask(lambda sdk: sdk.chat.completions.create(model="fake-small", messages=result, tools=[TOOL]))

    for answer in (unary, streamed):
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls
        assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Utrecht"}')
    assert spoken.choices[0].message.content == SENTENCE


async def test_old_completions(ask: Ask) -> None:
    """The old completions answer in text, streamed or not."""
    unary = await ask(lambda sdk: sdk.completions.create(model="fake-small", prompt="x"))
    chunks = await ask(lambda sdk: list(sdk.completions.create(model="fake-small", prompt="x", stream=True)))

    assert unary.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks) == SENTENCE


async def test_errors(ask: Ask) -> None:
    """An error status carries the provider's error object."""
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(lambda sdk: sdk.chat.completions.create(model="fault:answer;status=429", messages=MESSAGES))

    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.request_id == "req_fake_000001"


# ---- Responses


async def test_responses(ask: Ask) -> None:
    """A response is made, found again with its input, and deleted."""
    made = await ask(lambda sdk: sdk.responses.create(model="fake-small", input="Hello?"))
    found = await ask(lambda sdk: sdk.responses.retrieve(made.id))
    items = await ask(lambda sdk: sdk.responses.input_items.list(made.id))
    await ask(lambda sdk: sdk.responses.delete(made.id))

    assert made.output_text == found.output_text == SENTENCE
    assert made.usage is not None
    assert made.usage.output_tokens == len(WORDS)
    assert items.data[0].model_dump()["content"][0]["text"] == "Hello?"
    with pytest.raises(openai.NotFoundError):
        await ask(lambda sdk: sdk.responses.retrieve(made.id))


async def test_responses_stream(ask: Ask) -> None:
    """The SDK's own accumulator reads the whole documented sequence; sequence numbers have no gap."""

    def stream(sdk: openai.OpenAI) -> Any:
        with sdk.responses.stream(model="fake-small", input="Hello?") as stream:
            return list(stream), stream.get_final_response()

    events, final = await ask(stream)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert final.output_text == SENTENCE


async def test_background_responses(ask: Ask) -> None:
    """A background response is queued first; it can be polled or cancelled."""
    made = await ask(lambda sdk: sdk.responses.create(model="fake-small", input="Hello?", background=True))

    assert made.status == "queued"
    assert (await ask(lambda sdk: sdk.responses.cancel(made.id))).status == "cancelled"
    assert (await ask(lambda sdk: sdk.responses.retrieve(made.id))).status == "completed"
    with pytest.raises(openai.NotFoundError):
        await ask(lambda sdk: sdk.responses.cancel("resp_none"))
    with pytest.raises(openai.NotFoundError):
        await ask(lambda sdk: sdk.responses.input_items.list("resp_none"))


# ---- The rest


async def test_embeddings(ask: Ask) -> None:
    """Floats and base64 are the same numbers."""
    floats = await ask(
        lambda sdk: sdk.embeddings.create(model="e", input=["a", "b"], encoding_format="float", dimensions=5)
    )
    packed = await ask(lambda sdk: sdk.embeddings.create(model="e", input=["a", "b"], dimensions=5))
    tokens = await ask(lambda sdk: sdk.embeddings.create(model="e", input=[1, 2, 3]))

    assert [item.embedding for item in floats.data] == [item.embedding for item in packed.data]
    assert len(floats.data[1].embedding) == 5
    assert len(tokens.data) == 1


async def test_models(ask: Ask) -> None:
    """Models are listed and looked up."""
    assert [model.id for model in await ask(lambda sdk: list(sdk.models.list()))] == ["fake-small", "fake-large"]
    assert (await ask(lambda sdk: sdk.models.retrieve("fake-large"))).owned_by == "fake"
    with pytest.raises(openai.NotFoundError):
        await ask(lambda sdk: sdk.models.retrieve("gpt-none"))


async def test_files(ask: Ask) -> None:
    """A file comes back byte for byte, whatever is in it."""
    content = bytes(range(256)) * 10 + b"\r\n--\r\n"
    made = await ask(lambda sdk: sdk.files.create(file=("a.jsonl", content), purpose="batch"))
    listed = [file.id for file in await ask(lambda sdk: list(sdk.files.list()))]
    back = await ask(lambda sdk: sdk.files.content(made.id).content)
    await ask(lambda sdk: sdk.files.delete(made.id))

    assert (made.filename, made.bytes, made.purpose) == ("a.jsonl", len(content), "batch")
    assert listed == [made.id]
    assert back == content
    assert [file.id for file in await ask(lambda sdk: list(sdk.files.list()))] == []
    for gone in ("retrieve", "content", "delete"):
        with pytest.raises(openai.NotFoundError):
            await ask(partial(_call_for_file, gone, made.id))


def _call_for_file(method: str, ident: str, sdk: openai.OpenAI) -> Any:
    return getattr(sdk.files, method)(ident)


async def test_audio(ask: Ask) -> None:
    """Speech is bytes; a transcription says what it heard."""
    speech = await ask(lambda sdk: sdk.audio.speech.create(model="tts", voice="alloy", input="Hello").content)
    heard = await ask(lambda sdk: sdk.audio.transcriptions.create(model="stt", file=("a.mp3", speech)))

    assert speech.startswith(b"ID3")
    assert heard.text == f"{len(speech)} bytes {hashlib.sha256(speech).hexdigest()}"


async def test_images(ask: Ask) -> None:
    """As many images as were asked for, as JSON or as a form."""
    made = await ask(lambda sdk: sdk.images.generate(model="draw", prompt="a dot", n=2))
    edited = await ask(lambda sdk: sdk.images.edit(model="draw", image=("a.png", b"\x89PNG"), prompt="a dot", n=3))

    assert base64.b64decode((made.data or [])[1].b64_json or "").startswith(b"\x89PNG")
    assert len(edited.data or []) == 3


async def test_moderations(ask: Ask) -> None:
    """Nothing is flagged."""
    answer = await ask(lambda sdk: sdk.moderations.create(model="watch", input=["a", "b"]))

    assert [result.flagged for result in answer.results] == [False, False]


# ---- What is no SDK's business


async def test_other_paths_are_echoed(upstream: FakeUpstream) -> None:
    """A path that has no route answers with what arrived."""
    async with connect(upstream.url) as client:
        await client.request("PATCH", "/v1/vector_stores/vs_1?x=%20", [("content-type", "a/b")], b"\x00\xff")
        value = (await client.read_response()).json()

    assert value == {
        "object": "echo",
        "method": "PATCH",
        "path": "/v1/vector_stores/vs_1",
        "query": "x=%20",
        "content_type": "a/b",
        "body_size": 2,
        "body_sha256": hashlib.sha256(b"\x00\xff").hexdigest(),
    }


@pytest.mark.parametrize("path", ["/v1/files", "/v1/audio/transcriptions"])
async def test_a_form_without_a_file_is_refused(upstream: FakeUpstream, path: str) -> None:
    """Where a file is needed and none came, the answer is 400."""
    async with connect(upstream.url) as client:
        await client.request("POST", path, body=b"[]")
        assert (await client.read_response()).status == 400


async def test_the_same_requests_get_the_same_bytes() -> None:
    """There is no clock and no chance in an answer: two upstreams answer alike, byte for byte."""
    bodies = []
    for _ in range(2):
        async with open_fake_upstream() as upstream, connect(upstream.url) as client:
            await client.post_json("/v1/chat/completions", {"model": "m", "stream": True, "messages": []})
            bodies.append(await client.read_response())

    assert bodies[0] == bodies[1]


def asked_file(data: bytes) -> Asked:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + data + b"\r\n--b--\r\n"
    return Asked("POST", "/v1/files", "", 'multipart/form-data; boundary="b"', body, len(body), "")


def test_the_shelf_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest objects fall off, so that a day of uploads does not fill the memory."""
    provider = Provider()
    for _ in range(MAX_SHELVED + 5):
        provider.answer(asked_file(b"x"), Wanted())
    assert len(provider.shelf) == MAX_SHELVED
    assert "file-000001" not in provider.shelf

    monkeypatch.setattr(answers, "MAX_SHELVED_BYTES", 4000)
    for _ in range(5):
        provider.answer(asked_file(b"x" * 1000), Wanted())
    assert provider.shelved_bytes == 4000
    assert len(provider.shelf) == 4


def test_words_can_be_chosen() -> None:
    """A benchmark chooses how many chunks a stream has, and how large."""
    asked = Asked("POST", "/v1/chat/completions", "", "application/json", b'{"stream": true}', 2, "")
    answer = Provider().answer(asked, Wanted(words=50, word_bytes=64))

    assert answer.streamed
    assert len(answer.pieces) == 50 + 3
    assert all(len(piece) > 64 for piece in answer.pieces[1:51])


def test_small_things() -> None:
    """Short bodies make few pieces; what is no form has no parts; a body that is no JSON has no fields."""
    assert split(b"") == ()
    assert split(b"ab") == (b"a", b"b")
    assert split(b"abcdefghi") == (b"abc", b"def", b"ghi")
    assert parse_form("application/json", b"{}") == {}
    assert Asked("POST", "/", "", "", b"\xff", 1, "").fields == {}
    assert Asked("POST", "/", "", "", b"[1]", 3, "").model == ""


async def test_asks_nothing_of_a_thread(upstream: FakeUpstream) -> None:
    """The fake runs in the trio run of its test: no thread of its own."""
    before = trio.to_thread.current_default_thread_limiter().borrowed_tokens
    async with connect(upstream.url) as client:
        await client.post_json("/v1/chat/completions", {"model": "m", "messages": []})
        await client.read_response()

    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == before == 0
