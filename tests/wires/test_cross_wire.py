"""A client of one API reaches a provider of the other, with the official SDKs as clients, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from relay_trio.testing.answers import PIXEL, WORDS
from relay_trio.testing.answers_anthropic import SIGNATURE, THOUGHT
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

SENTENCE = "".join(WORDS)
CITY = {"city": "Utrecht"}
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}

CHAT: Any = {"model": "claude-x", "messages": [{"role": "user", "content": "one two three"}]}
CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA}}
    for name in ("weather", "time")
]
MESSAGES: Any = {"model": "gpt-x", "max_tokens": 2000, "messages": [{"role": "user", "content": "one two three"}]}
MESSAGES_TOOLS: Any = [{"name": "weather", "description": "d", "input_schema": SCHEMA}]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "openai", "anthropic") as stand:
        yield stand


# ---- A client of OpenAI's at Anthropic


async def test_a_chat_completion_of_a_claude(stand: WireStand) -> None:
    """The typed answer comes out; the request that went up is Anthropic's, with our key."""
    answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT, stop=["x"], temperature=0.5))
    assert answer.choices[0].message.content == SENTENCE
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(WORDS)
    assert answer.created > 1_700_000_000
    assert stand.sent("anthropic") == {
        "model": "claude-x",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "one two three"}]}],
        "stop_sequences": ["x"],
        "temperature": 0.5,
    }
    request = stand.upstreams["anthropic"].requests[-1]
    assert (request.path, request.get("x-api-key")) == ("/v1/messages", PROVIDER_KEY)
    assert request.get("authorization") is None
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["channel"], line["output_tokens"]) == ("openai_chat", "anthropic", len(WORDS))


async def test_a_streamed_chat_completion_of_a_claude(stand: WireStand) -> None:
    """Word by word, with the usage for who asked."""

    def work(sdk: openai.OpenAI) -> list[Any]:
        return list(sdk.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))

    chunks = await stand.with_openai(work)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert words == list(WORDS)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == len(WORDS)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def test_usage_is_hidden_from_who_did_not_ask(stand: WireStand) -> None:
    """No chunk has any."""
    chunks = await stand.with_openai(lambda sdk: list(sdk.chat.completions.create(**CHAT, stream=True)))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.parametrize("streamed", [True, False])
async def test_thoughts_survive_a_client_that_has_no_field_for_them(stand: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """With two parallel tool calls: what comes back to the provider is its own signed thought, and its own ids."""

    def ask(sdk: openai.OpenAI) -> list[dict[str, Any]]:
        more: Any = {"tools": CHAT_TOOLS, "reasoning_effort": "low"}
        if not streamed:
            message = sdk.chat.completions.create(**CHAT, **more).choices[0].message
            return [{"id": call.id, **call.function.model_dump()} for call in message.tool_calls or []]
        calls: list[dict[str, Any]] = []
        for chunk in sdk.chat.completions.create(**CHAT, **more, stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                if call.id:
                    calls.append({"id": call.id, "name": call.function.name, "arguments": ""})
                calls[call.index]["arguments"] += call.function.arguments
        return calls

    calls = await stand.with_openai(ask)
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [("weather", CITY), ("time", CITY)]
    assistant = {
        "role": "assistant",
        "tool_calls": [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in calls
        ],
    }
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    turns: Any = [*CHAT["messages"], assistant, *results]
    more: Any = {"tools": CHAT_TOOLS, "reasoning_effort": "low"}
    answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(model="claude-x", messages=turns, **more))
    assert answer.choices[0].message.content == SENTENCE
    sent: Any = stand.sent("anthropic")
    assert sent["thinking"] == {"type": "adaptive"}
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "tool_use", "id": "toolu_01fake1", "name": "weather", "input": CITY},
        {"type": "tool_use", "id": "toolu_01fake2", "name": "time", "input": CITY},
    ]
    assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == ["toolu_01fake1", "toolu_01fake2"]


async def test_what_is_left_out_is_named(stand: WireStand) -> None:
    """In a header; the answer is right without it."""
    raw = await stand.with_openai(
        lambda sdk: sdk.chat.completions.with_raw_response.create(**CHAT, seed=7, temperature=1.5)
    )
    assert raw.headers["x-relay-dropped"] == "seed, temperature"
    assert stand.sent("anthropic")["temperature"] == 1.0
    assert stand.relay.finished()[-1]["dropped"] == ["seed", "temperature"]


async def test_what_would_make_the_answer_wrong_is_refused(stand: WireStand) -> None:
    """400, and the field is named."""
    with pytest.raises(openai.BadRequestError) as raised:
        await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT, n=2))
    assert raised.value.param == "n"
    assert stand.upstreams["anthropic"].request_count == 0


async def test_who_cannot_be_told_gives_way_to_who_can(tmp_path: Path) -> None:
    """The same model at two providers: the one that is tried first cannot be asked for two answers."""
    async with open_wire_stand(tmp_path, "anthropic", "openai", list_models=False, channel='models = ["m"]') as stand:
        two = {**CHAT, "model": "m", "n": 2}
        answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(**two))
        assert len(answer.choices) == 2
        assert stand.upstreams["anthropic"].request_count == 0
        (failed,) = stand.relay.lines("attempt_failed")
        assert failed["channel"] == "anthropic"


OPENAI_ERRORS = [
    (400, 400, openai.BadRequestError, "invalid_request_error"),
    (404, 404, openai.NotFoundError, "not_found_error"),
    (429, 429, openai.RateLimitError, "rate_limit_error"),
    (529, 503, openai.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "told", "kind", "word"), OPENAI_ERRORS)
async def test_errors_of_anthropic_are_typed_for_openai(
    stand: WireStand, status: int, told: int, kind: type[openai.APIStatusError], word: str
) -> None:
    """In OpenAI's shape; 529, which is no standard status, becomes 503."""
    stand.upstreams["anthropic"].script.always = f"answer;status={status}"
    with pytest.raises(kind) as raised:
        await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT))
    assert raised.value.status_code == told
    assert raised.value.type == word
    assert raised.value.code == word
    body: Any = raised.value.body
    assert body["message"] == f"The fake upstream answers {status}."


# ---- A client of Anthropic's at OpenAI


async def test_a_message_of_a_gpt(stand: WireStand) -> None:
    """The typed answer comes out; the request that went up is OpenAI's, with our key."""
    message = await stand.with_anthropic(lambda sdk: sdk.messages.create(**MESSAGES, system="be brief"))
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == SENTENCE
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", len(WORDS))
    assert stand.sent("openai") == {
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two three"}],
        "max_completion_tokens": 2000,
    }
    request = stand.upstreams["openai"].requests[-1]
    assert (request.path, request.get("authorization")) == ("/v1/chat/completions", f"Bearer {PROVIDER_KEY}")
    assert request.get("anthropic-version") is None


async def test_a_streamed_message_of_a_gpt(stand: WireStand) -> None:
    """Word by word; the usage is corrected at the end."""

    def work(sdk: anthropic.Anthropic) -> tuple[list[str], Any]:
        with sdk.messages.stream(**MESSAGES) as stream:
            return list(stream.text_stream), stream.get_final_message()

    words, message = await stand.with_anthropic(work)
    assert words == list(WORDS)
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", len(WORDS))
    prompt = len(str(stand.sent("openai")["messages"]).split())
    assert message.usage.input_tokens == prompt


async def test_tools_with_a_gpt(stand: WireStand) -> None:
    """A call streamed, its result sent back."""

    def work(sdk: anthropic.Anthropic) -> Any:
        with sdk.messages.stream(**MESSAGES, tools=MESSAGES_TOOLS, tool_choice={"type": "any"}) as stream:
            return stream.get_final_message()

    message = await stand.with_anthropic(work)
    (call,) = message.content
    assert (call.name, call.input, message.stop_reason) == ("weather", CITY, "tool_use")
    assert stand.sent("openai")["tool_choice"] == "required"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    turns: Any = [
        *MESSAGES["messages"],
        {"role": "assistant", "content": [block.model_dump() for block in message.content]},
        {"role": "user", "content": [{"type": "text", "text": "and?"}, result]},
    ]
    await stand.with_anthropic(
        lambda sdk: sdk.messages.create(model="gpt-x", max_tokens=9, messages=turns, tools=MESSAGES_TOOLS)
    )
    sent: Any = stand.sent("openai")["messages"]
    assert sent[1]["tool_calls"][0]["id"] == call.id
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == CITY
    assert sent[2] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    assert sent[3] == {"role": "user", "content": "and?"}


async def test_pictures_go_both_ways(stand: WireStand) -> None:
    """Bytes and addresses."""
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    there: Any = [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "?"}]}]
    await stand.with_anthropic(lambda sdk: sdk.messages.create(model="gpt-x", max_tokens=9, messages=there))
    sent: Any = stand.sent("openai")["messages"]
    assert sent[0]["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    back: Any = [*sent, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]
    await stand.with_openai(lambda sdk: sdk.chat.completions.create(model="claude-x", messages=back))
    turns: Any = stand.sent("anthropic")["messages"]
    (turn,) = turns
    assert [block.get("source") for block in turn["content"]] == [
        source,
        None,
        {"type": "url", "url": "https://x/y.png"},
    ]


ANTHROPIC_ERRORS = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (503, anthropic.ServiceUnavailableError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "word"), ANTHROPIC_ERRORS)
async def test_errors_of_openai_are_typed_for_anthropic(
    stand: WireStand, status: int, kind: type[anthropic.APIStatusError], word: str
) -> None:
    """In Anthropic's shape."""
    stand.upstreams["openai"].script.always = f"answer;status={status}"
    with pytest.raises(kind) as raised:
        await stand.with_anthropic(lambda sdk: sdk.messages.create(**MESSAGES))
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", word)
    assert "was told to" in body["error"]["message"]


@pytest.mark.parametrize("broken", ["truncated-chunked", "reset-mid-body"])
async def test_a_stream_cut_short_is_told_in_the_clients_dialect(stand: WireStand, broken: str) -> None:
    """Both ways; success is never pretended."""
    for upstream in stand.upstreams.values():
        upstream.script.always = f"{broken};after=5"

    def messages(sdk: anthropic.Anthropic) -> None:
        with sdk.messages.stream(**MESSAGES) as stream:
            stream.until_done()

    with pytest.raises(anthropic.APIStatusError):
        await stand.with_anthropic(messages)
    with pytest.raises(openai.APIError):
        await stand.with_openai(lambda sdk: list(sdk.chat.completions.create(**CHAT, stream=True)))


async def test_each_client_lists_the_models_of_all_providers(stand: WireStand) -> None:
    """In its own form."""
    names = {"fake-small", "fake-large", "claude-fake-small", "claude-fake-large"}
    served = {name for name in names if name.startswith("claude-")}
    assert {model.id for model in await stand.with_anthropic(lambda sdk: list(sdk.models.list()))} == served
    assert {model.id for model in await stand.with_openai(lambda sdk: list(sdk.models.list()))} == served


async def test_a_model_goes_to_its_own_provider_where_channels_list_none(tmp_path: Path) -> None:
    """Whoever sets two providers' keys and nothing else is served right."""
    async with open_wire_stand(tmp_path, "openai", "anthropic", list_models=False) as stand:
        for model, channel in [("claude-x", "anthropic"), ("gpt-x", "openai"), ("other", "openai")]:
            async with connect(stand.relay.url) as client:
                await client.post_json("/v1/chat/completions", {**CHAT, "model": model}, CLIENT_KEY)
                assert (await client.read_response()).status == 200
            await stand.relay.wait_at_rest()
            assert stand.relay.finished()[-1]["channel"] == channel
