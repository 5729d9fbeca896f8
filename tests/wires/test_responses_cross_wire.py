"""Clients of the Responses API at other providers, and other clients at a provider by its Responses API.

With the official SDKs, over real sockets.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pydantic
import pytest
from google import genai
from google.genai import types as genai_types
from openai.types.responses import Response
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from relay_trio.testing.answers import PIXEL, WORDS
from relay_trio.testing.answers_anthropic import CACHED, SIGNATURE, THOUGHT
from relay_trio.testing.answers_gemini import SIGNATURE as GEMINIS_SIGNATURE
from relay_trio.testing.answers_gemini import THOUGHTS
from relay_trio.testing.answers_responses import SEALED, SUMMARY, ResponsesProvider

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

SENTENCE = "".join(WORDS)
CITY = {"city": "Utrecht"}
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: Any = {"input": "one two three", "instructions": "be brief"}
TOOLS: Any = [
    {"type": "function", "name": name, "description": "d", "parameters": SCHEMA, "strict": False}
    for name in ("weather", "time")
]
MODELS = ["claude-x", "deepseek-x", "gemini-3-flash"]
COUNTED = {"claude-x": len(WORDS), "deepseek-x": len(WORDS), "gemini-3-flash": len(WORDS) + THOUGHTS}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    """A relay before providers that do not speak Responses."""
    async with open_wire_stand(tmp_path, "anthropic", "deepseek", "gemini") as stand:
        yield stand


@pytest.fixture
async def responding(tmp_path: Path) -> AsyncIterator[WireStand]:
    """A relay before a provider that is asked by its Responses API alone."""
    async with open_wire_stand(tmp_path, "openai", channel='options = { api = "responses" }') as stand:
        stand.upstreams["openai"].provider = ResponsesProvider()
        yield stand


# ---- A client of Responses at Anthropic, and at a provider of chat alone


@pytest.mark.parametrize("model", MODELS)
async def test_a_response(stand: WireStand, model: str) -> None:
    """The typed answer comes out, and says what was asked for; nothing is stored."""
    answer: Response = await stand.with_openai(
        lambda sdk: sdk.responses.create(model=model, **ASKED, max_output_tokens=99, metadata={"a": "b"})
    )
    assert (answer.output_text, answer.status, answer.error) == (SENTENCE, "completed", None)
    assert (answer.model, answer.instructions, answer.max_output_tokens) == (model, "be brief", 99)
    assert (answer.metadata, answer.model_extra) == ({"a": "b"}, {"store": False})
    assert answer.created_at > 1_700_000_000
    assert answer.usage is not None
    assert answer.usage.output_tokens == COUNTED[model]
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["output_tokens"], line["dropped"]) == (
        "openai_responses",
        COUNTED[model],
        ["metadata"],
    )


async def test_what_goes_up(stand: WireStand) -> None:
    """Anthropic's request, chat's and Gemini's, with our key."""
    await stand.with_openai(lambda sdk: [sdk.responses.create(model=model, **ASKED) for model in MODELS])
    claude, chat, gemini = stand.sent("anthropic"), stand.sent("deepseek"), stand.sent("gemini")
    assert claude["system"] == "be brief"
    assert claude["messages"] == [{"role": "user", "content": [{"type": "text", "text": "one two three"}]}]
    assert chat["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one two three"},
    ]
    assert gemini["contents"] == [{"role": "user", "parts": [{"text": "one two three"}]}]
    request = stand.upstreams["deepseek"].requests[-1]
    assert (request.path, request.get("authorization")) == ("/v1/chat/completions", f"Bearer {PROVIDER_KEY}")


@pytest.mark.parametrize("model", MODELS)
async def test_a_streamed_response(stand: WireStand, model: str) -> None:
    """Word by word, numbered, up to the whole response."""

    def work(sdk: openai.OpenAI) -> tuple[list[Any], Any]:
        with sdk.responses.stream(model=model, **ASKED) as stream:
            return list(stream), stream.get_final_response()

    events, final = await stand.with_openai(work)
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == list(WORDS)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert (final.output_text, final.status) == (SENTENCE, "completed")
    assert final.usage.output_tokens == COUNTED[model]


class City(pydantic.BaseModel):
    """What is asked for."""

    city: str


@pytest.mark.parametrize("model", MODELS)
async def test_a_parsed_response(stand: WireStand, model: str) -> None:
    """The schema goes up in each provider's own way; a call's arguments come back parsed."""
    sent: Callable[[str], Any] = stand.sent
    tool = openai.pydantic_function_tool(City, name="weather")["function"]
    flat: Any = {"type": "function", **tool}
    answer = await stand.with_openai(
        lambda sdk: sdk.responses.parse(model=model, **ASKED, tools=[flat], tool_choice="required")
    )
    called: Any = answer.output[-1]
    assert (called.name, json.loads(called.arguments)) == ("weather", CITY)
    with pytest.raises(pydantic.ValidationError):  # the fake's words are no JSON, which only the SDK can tell
        await stand.with_openai(lambda sdk: sdk.responses.parse(model=model, **ASKED, text_format=City))
    schemas: dict[str, Callable[[], Any]] = {
        "claude-x": lambda: sent("anthropic")["output_config"]["format"]["schema"],
        "deepseek-x": lambda: sent("deepseek")["response_format"]["json_schema"]["schema"],
        "gemini-3-flash": lambda: sent("gemini")["generationConfig"]["responseJsonSchema"],
    }
    assert schemas[model]()["required"] == ["city"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("drops_thoughts", [True, False])
async def test_thoughts_survive_in_their_items(stand: WireStand, streamed: bool, drops_thoughts: bool) -> None:  # noqa: FBT001 - columns of the table
    """With two calls: sent back whole, or without what the client does not know, Anthropic gets its own signed thought."""
    more: Any = {"model": "claude-x", "tools": TOOLS, "reasoning": {"effort": "low"}, "store": False}

    def ask(sdk: openai.OpenAI) -> Any:
        if not streamed:
            return sdk.responses.create(input="one two three", **more)
        with sdk.responses.stream(input="one two three", **more) as stream:
            return stream.get_final_response()

    answer = await stand.with_openai(ask)
    thought, *calls = answer.output
    assert thought.summary[0].text == THOUGHT
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("weather", CITY), ("time", CITY)]
    kept = [item.model_dump(exclude_none=True) for item in (calls if drops_thoughts else answer.output)]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    turns: Any = [{"role": "user", "content": "one two three"}, *kept, *results]
    again = await stand.with_openai(lambda sdk: sdk.responses.create(input=turns, **more))
    assert again.output_text == SENTENCE
    sent: Any = stand.sent("anthropic")
    assert sent["thinking"]["type"] in {"adaptive", "enabled"}
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "tool_use", "id": "toolu_01fake1", "name": "weather", "input": CITY},
        {"type": "tool_use", "id": "toolu_01fake2", "name": "time", "input": CITY},
    ]
    assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == ["toolu_01fake1", "toolu_01fake2"]


@pytest.mark.parametrize("drops_thoughts", [True, False])
async def test_a_signature_of_geminis_comes_back(stand: WireStand, drops_thoughts: bool) -> None:  # noqa: FBT001 - a column of the table
    """Gemini 3 answers 400 to a call that comes back without it."""
    more: Any = {"model": "gemini-3-flash", "tools": TOOLS[:1]}

    def ask(sdk: openai.OpenAI) -> Any:
        with sdk.responses.stream(input="one two three", **more) as stream:
            return stream.get_final_response()

    output = (await stand.with_openai(ask)).output
    called = output[-1]
    kept = [item.model_dump(exclude_none=True) for item in ([called] if drops_thoughts else output)]
    result = {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}
    turns: Any = [{"role": "user", "content": "one two three"}, *kept, result]
    again = await stand.with_openai(lambda sdk: sdk.responses.create(input=turns, **more))
    assert again.output_text == SENTENCE
    sent: Any = stand.sent("gemini")["contents"]
    assert sent[1]["parts"][-1]["thoughtSignature"] == GEMINIS_SIGNATURE


@pytest.mark.parametrize("model", MODELS)
async def test_pictures(stand: WireStand, model: str) -> None:
    """As bytes, in each provider's own form."""
    content: Any = [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    turns: Any = [{"role": "user", "content": content}]
    await stand.with_openai(lambda sdk: sdk.responses.create(model=model, input=turns))
    sent: Callable[[str], Any] = stand.sent
    pictures: dict[str, Callable[[], Any]] = {
        "claude-x": lambda: sent("anthropic")["messages"][0]["content"][1]["source"]["data"],
        "deepseek-x": lambda: sent("deepseek")["messages"][0]["content"][1]["image_url"]["url"].rpartition(",")[2],
        "gemini-3-flash": lambda: sent("gemini")["contents"][0]["parts"][1]["inlineData"]["data"],
    }
    assert pictures[model]() == PIXEL


@pytest.mark.parametrize("model", MODELS)
async def test_what_a_provider_does_not_keep_is_refused(stand: WireStand, model: str) -> None:
    """400, and the field is named: no provider is asked."""
    with pytest.raises(openai.BadRequestError) as raised:
        await stand.with_openai(
            lambda sdk: sdk.responses.create(model=model, input="x", previous_response_id="resp_123")
        )
    assert raised.value.param == "previous_response_id"
    assert raised.value.code == "unsupported_parameter"
    assert all(upstream.request_count == 0 for upstream in stand.upstreams.values())


ERRORS = [
    ("claude-x", "answer;status=429", openai.RateLimitError),
    ("deepseek-x", "answer;status=429", openai.RateLimitError),
    ("claude-x", "answer;status=529", openai.InternalServerError),
    ("deepseek-x", "answer;status=400", openai.BadRequestError),
    ("gemini-3-flash", "answer;status=503", openai.InternalServerError),
]


@pytest.mark.parametrize(("model", "fault", "kind"), ERRORS)
async def test_errors_are_typed(stand: WireStand, model: str, fault: str, kind: type[openai.APIStatusError]) -> None:
    """As the client's SDK has them."""
    for upstream in stand.upstreams.values():
        upstream.script.always = fault
    with pytest.raises(kind):
        await stand.with_openai(lambda sdk: sdk.responses.create(model=model, **ASKED))


@pytest.mark.parametrize("model", MODELS)
async def test_how_long_to_wait_is_told(stand: WireStand, model: str) -> None:
    """A 429's Retry-After reaches the client."""
    for upstream in stand.upstreams.values():
        upstream.script.always = "retry-after-seconds;retry_after=7"
    with pytest.raises(openai.RateLimitError) as raised:
        await stand.with_openai(lambda sdk: sdk.responses.create(model=model, **ASKED))
    assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("broken", ["truncated-chunked", "reset-mid-body"])
@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_cut_short_raises(stand: WireStand, model: str, broken: str) -> None:
    """With the error event of the dialect, numbered on from the events before it."""
    for upstream in stand.upstreams.values():
        upstream.script.always = f"{broken};after=5"
    seen: list[int] = []

    def work(sdk: openai.OpenAI) -> None:
        seen.extend(event.sequence_number for event in sdk.responses.create(model=model, **ASKED, stream=True))

    with pytest.raises(openai.APIError) as raised:
        await stand.with_openai(work)
    body: Any = raised.value.body
    assert seen == list(range(len(seen)))
    assert body["code"] == "upstream_answer_broken" or "broke" in body["message"]


# ---- Clients of chat and of messages, by the Responses API

CHAT: Any = {"model": "gpt-5-x", "messages": [{"role": "user", "content": "one two three"}]}
CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA}}
    for name in ("weather", "time")
]
MESSAGES: Any = {"model": "gpt-5-x", "max_tokens": 2000, "messages": [{"role": "user", "content": "one two three"}]}
MESSAGES_TOOLS: Any = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("weather", "time")]


async def test_a_chat_completion_by_responses(responding: WireStand) -> None:
    """The typed answer comes out; nothing is left at the provider."""
    answer = await responding.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT, max_completion_tokens=99))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (SENTENCE, "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(WORDS)
    assert responding.sent("openai") == {
        "model": "gpt-5-x",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one two three"}]}],
        "max_output_tokens": 99,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert responding.upstreams["openai"].requests[-1].path == "/v1/responses"


async def test_streams_by_responses(responding: WireStand) -> None:
    """Word by word, for each kind of client."""

    def chat(sdk: openai.OpenAI) -> list[Any]:
        return list(sdk.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))

    chunks = await responding.with_openai(chat)
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert said == list(WORDS)
    assert chunks[-1].usage.completion_tokens == len(WORDS)

    def messages(sdk: anthropic.Anthropic) -> tuple[list[str], Any]:
        with sdk.messages.stream(**MESSAGES) as stream:
            return list(stream.text_stream), stream.get_final_message()

    heard, message = await responding.with_anthropic(messages)
    assert heard == list(WORDS)
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", len(WORDS))


@pytest.mark.parametrize("streamed", [True, False])
async def test_openais_thoughts_survive_a_client_of_chat(responding: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """In the id of the call: the provider gets its sealed item back, and its own ids."""
    more: Any = {"tools": CHAT_TOOLS, "reasoning_effort": "low"}

    def ask(sdk: openai.OpenAI) -> list[Any]:
        if not streamed:
            message = sdk.chat.completions.create(**CHAT, **more).choices[0].message
            return [call.model_dump() for call in message.tool_calls or []]
        calls: list[Any] = []
        for chunk in sdk.chat.completions.create(**CHAT, **more, stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                if call.id:
                    calls.append(
                        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": ""}}
                    )
                calls[call.index]["function"]["arguments"] += call.function.arguments
        return calls

    calls = await responding.with_openai(ask)
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == [
        ("weather", CITY),
        ("time", CITY),
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    turns: Any = [*CHAT["messages"], {"role": "assistant", "tool_calls": calls}, *results]
    answer = await responding.with_openai(
        lambda sdk: sdk.chat.completions.create(model="gpt-5-x", messages=turns, **more)
    )
    assert answer.choices[0].message.content == SENTENCE
    sent: Any = responding.sent("openai")["input"]
    assert sent[1] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": SUMMARY}],
        "encrypted_content": SEALED,
    }
    assert [item["call_id"] for item in sent[2:]] == ["call_fake_1", "call_fake_2"] * 2


@pytest.mark.parametrize("streamed", [True, False])
async def test_openais_thoughts_survive_a_client_of_anthropic(responding: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """In the place of the signature; two calls whose arguments come in turns are put in order."""
    more: Any = {"tools": MESSAGES_TOOLS, "thinking": {"type": "enabled", "budget_tokens": 1024}}

    def ask(sdk: anthropic.Anthropic) -> Any:
        if not streamed:
            return sdk.messages.create(**MESSAGES, **more)
        with sdk.messages.stream(**MESSAGES, **more) as stream:
            return stream.get_final_message()

    message = await responding.with_anthropic(ask)
    assert [block.type for block in message.content] == ["thinking", "tool_use", "tool_use"]
    assert message.content[0].thinking == SUMMARY
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
        for block in message.content
        if block.type == "tool_use"
    ]
    turns: Any = [
        *MESSAGES["messages"],
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {"role": "user", "content": results},
    ]
    await responding.with_anthropic(
        lambda sdk: sdk.messages.create(model="gpt-5-x", max_tokens=2000, messages=turns, **more)
    )
    sent: Any = responding.sent("openai")["input"]
    assert sent[1]["encrypted_content"] == SEALED
    assert sent[1]["summary"] == [{"type": "summary_text", "text": SUMMARY}]
    assert [item["type"] for item in sent[2:]] == ["function_call", "function_call"] + ["function_call_output"] * 2


async def test_a_client_of_geminis_by_responses(responding: WireStand) -> None:
    """Whole and streamed; the thoughts of OpenAI come back by the call's signature."""
    tool = genai_types.FunctionDeclaration(name="weather", description="d", parameters_json_schema=SCHEMA)
    config = genai_types.GenerateContentConfig(
        tools=[genai_types.Tool(function_declarations=[tool])],
        thinking_config=genai_types.ThinkingConfig(thinking_level=genai_types.ThinkingLevel.LOW),
        automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )

    def work(sdk: genai.Client) -> tuple[str, str | None]:
        said = "".join(
            chunk.text or "" for chunk in sdk.models.generate_content_stream(model="gpt-5-x", contents="one two three")
        )
        first = sdk.models.generate_content(model="gpt-5-x", contents="one two three", config=config)
        assert first.candidates is not None
        content = first.candidates[0].content
        assert content is not None
        assert content.parts is not None
        called = next(part.function_call for part in content.parts if part.function_call)
        result = genai_types.Part.from_function_response(name="weather", response={"result": "sunny"})
        assert result.function_response is not None
        result.function_response.id = called.id
        question = genai_types.Content(role="user", parts=[genai_types.Part(text="one two three")])
        turns: Any = [question, content, genai_types.Content(role="user", parts=[result])]
        return said, sdk.models.generate_content(model="gpt-5-x", contents=turns, config=config).text

    assert await responding.with_gemini(work) == (SENTENCE, SENTENCE)
    sent: Any = responding.sent("openai")["input"]
    assert [item["type"] for item in sent] == ["message", "reasoning", "function_call", "function_call_output"]
    assert sent[1]["encrypted_content"] == SEALED


async def test_a_failed_response_is_an_error_to_every_client(responding: WireStand) -> None:
    """`response.failed` in the stream, in each client's own form."""
    responding.upstreams["openai"].script.always = "response-failed;after=5"
    with pytest.raises(openai.APIError):
        await responding.with_openai(lambda sdk: list(sdk.chat.completions.create(**CHAT, stream=True)))

    def messages(sdk: anthropic.Anthropic) -> None:
        with sdk.messages.stream(**MESSAGES) as stream:
            stream.until_done()

    with pytest.raises(anthropic.APIStatusError):
        await responding.with_anthropic(messages)


async def test_usage_is_the_providers(stand: WireStand) -> None:
    """By OpenAI's rule, from Anthropic's counts: what came from the cache is part of the input."""
    answer = await stand.with_openai(lambda sdk: sdk.responses.create(model="claude-x", **ASKED))
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == CACHED
    assert answer.usage.input_tokens > CACHED
