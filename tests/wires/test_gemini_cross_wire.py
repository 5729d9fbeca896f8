"""Clients of other APIs reach the Gemini API, and its clients reach others, with the official SDKs, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from relay_trio.testing.answers import PIXEL, WORDS
from relay_trio.testing.answers_anthropic import THOUGHT as CLAUDES_THOUGHT
from relay_trio.testing.answers_gemini import SIGNATURE, THOUGHT, THOUGHTS
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

SENTENCE = "".join(WORDS)
CITY = {"city": "Utrecht"}
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}

CHAT: Any = {"model": "gemini-3-flash", "messages": [{"role": "user", "content": "one two three"}]}
CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA}}
    for name in ("weather", "time")
]
MESSAGES: Any = {**CHAT, "max_tokens": 2000}
MESSAGES_TOOLS: Any = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("weather", "time")]
OTHERS = pytest.mark.parametrize("model", ["gpt-x", "claude-x"])
GEMINI_TOOLS: Any = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="weather", description="d", parameters_json_schema=SCHEMA)]
)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "openai", "anthropic", "gemini") as stand:
        yield stand


# ---- A client of OpenAI's at Gemini


async def test_a_chat_completion_of_a_gemini(stand: WireStand) -> None:
    """The typed answer comes out; the request that went up is Google's, with our key."""
    answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT, stop=["x"], temperature=0.5, n=2))
    assert [choice.message.content for choice in answer.choices] == [SENTENCE] * 2
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(WORDS) + THOUGHTS
    assert stand.sent("gemini") == {
        "contents": [{"role": "user", "parts": [{"text": "one two three"}]}],
        "generationConfig": {"candidateCount": 2, "temperature": 0.5, "stopSequences": ["x"]},
    }
    request = stand.upstreams["gemini"].requests[-1]
    assert request.path == "/v1beta/models/gemini-3-flash:generateContent"
    assert (request.get("x-goog-api-key"), request.get("authorization")) == (PROVIDER_KEY, None)
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["channel"], line["reasoning_tokens"]) == ("openai_chat", "gemini", THOUGHTS)


async def test_a_streamed_chat_completion_of_a_gemini(stand: WireStand) -> None:
    """Word by word, for each of several choices, with the usage for who asked."""

    def work(sdk: openai.OpenAI) -> list[Any]:
        return list(sdk.chat.completions.create(**CHAT, n=2, stream=True, stream_options={"include_usage": True}))

    chunks = await stand.with_openai(work)
    for index in range(2):
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert [choice.delta.content for choice in choices if choice.delta.content] == list(WORDS)
        assert choices[-1].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == len(WORDS) + THOUGHTS


@pytest.mark.parametrize("streamed", [True, False])
async def test_signatures_survive_a_chat_client(stand: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """With two parallel calls: Gemini 3 takes the turn back only with the signature on its first one."""
    more: Any = {"tools": CHAT_TOOLS, "reasoning_effort": "low"}

    def ask(sdk: openai.OpenAI) -> tuple[str, list[dict[str, Any]]]:
        if not streamed:
            message: Any = sdk.chat.completions.create(**CHAT, **more).choices[0].message
            return message.reasoning_content, [
                {"id": call.id, **call.function.model_dump()} for call in message.tool_calls
            ]
        thought, calls = "", []
        for chunk in sdk.chat.completions.create(**CHAT, **more, stream=True):
            delta: Any = chunk.choices[0].delta
            thought += getattr(delta, "reasoning_content", None) or ""
            for call in delta.tool_calls or []:
                if call.id:
                    calls.append({"id": call.id, "name": call.function.name, "arguments": ""})
                calls[call.index]["arguments"] += call.function.arguments
        return thought, calls

    thought, calls = await stand.with_openai(ask)
    assert thought == THOUGHT
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
    answer = await stand.with_openai(
        lambda sdk: sdk.chat.completions.create(model="gemini-3-flash", messages=turns, **more)
    )
    assert answer.choices[0].message.content == SENTENCE
    sent: Any = stand.sent("gemini")
    first, second = sent["contents"][1]["parts"]
    assert (first["functionCall"]["name"], first["thoughtSignature"]) == ("weather", SIGNATURE)
    assert "thoughtSignature" not in second
    assert [part["functionResponse"]["name"] for part in sent["contents"][2]["parts"]] == ["weather", "time"]
    assert sent["contents"][2]["parts"][0]["functionResponse"]["id"] == first["functionCall"]["id"]


async def test_a_picture_and_json(stand: WireStand) -> None:
    """Bytes inline; the schema as JSON Schema."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    turns: Any = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    await stand.with_openai(
        lambda sdk: sdk.chat.completions.create(model="gemini-x", messages=turns, response_format=wanted)
    )
    sent: Any = stand.sent("gemini")
    assert sent["contents"][0]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}, {"text": "?"}]
    assert sent["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}


OPENAI_ERRORS = [
    (400, openai.BadRequestError, "INVALID_ARGUMENT"),
    (404, openai.NotFoundError, "NOT_FOUND"),
    (429, openai.RateLimitError, "RESOURCE_EXHAUSTED"),
    (503, openai.InternalServerError, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("status", "kind", "word"), OPENAI_ERRORS)
async def test_errors_of_gemini_are_typed_for_openai(
    stand: WireStand, status: int, kind: type[openai.APIStatusError], word: str
) -> None:
    """In OpenAI's shape, with the provider's word as the code; the wait, which Gemini hides, in a header."""
    stand.upstreams["gemini"].script.always = f"answer;status={status}"
    with pytest.raises(kind) as raised:
        await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT))
    assert raised.value.response.headers.get("retry-after") == ("12" if status == 429 else None)
    body: Any = raised.value.body
    assert body["message"] == f"The fake upstream answers {status}."
    assert body["code"] == word


# ---- A client of OpenAI's Responses API at Gemini


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_response_of_a_gemini(stand: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """With a thought and two calls; sent back as its items, the turn has the signature that Gemini 3 wants."""
    tools: Any = [{"type": "function", "name": tool["function"]["name"], "parameters": SCHEMA} for tool in CHAT_TOOLS]
    more: Any = {"model": "gemini-3-flash", "tools": tools, "reasoning": {"effort": "low", "summary": "auto"}}
    question: Any = {"role": "user", "content": "one two three"}

    def ask(sdk: openai.OpenAI) -> Any:
        if not streamed:
            return sdk.responses.create(input=[question], **more)
        with sdk.responses.stream(input=[question], **more) as stream:
            return stream.until_done().get_final_response()

    response = await stand.with_openai(ask)
    thought, *calls = response.output
    assert thought.summary[0].text == THOUGHT
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("weather", CITY), ("time", CITY)]
    assert response.usage.output_tokens_details.reasoning_tokens == THOUGHTS
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    turns: Any = [question, *(item.model_dump(exclude_none=True) for item in response.output), *results]
    again = await stand.with_openai(lambda sdk: sdk.responses.create(input=turns, **more))
    assert again.output_text == SENTENCE
    sent: Any = stand.sent("gemini")
    assert [part.get("thoughtSignature") for part in sent["contents"][1]["parts"]] == [SIGNATURE, None]


# ---- A client of Anthropic's at Gemini


async def test_a_message_of_a_gemini(stand: WireStand) -> None:
    """The typed answer comes out; a stream comes word by word, and knows the input from its start."""
    message = await stand.with_anthropic(
        lambda sdk: sdk.messages.create(**MESSAGES, system="be brief", stop_sequences=["x"])
    )
    assert message.content[0].text == SENTENCE
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", len(WORDS) + THOUGHTS)
    assert stand.sent("gemini") == {
        "contents": [{"role": "user", "parts": [{"text": "one two three"}]}],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {"maxOutputTokens": 2000, "stopSequences": ["x"]},
    }

    def work(sdk: anthropic.Anthropic) -> tuple[list[str], Any]:
        with sdk.messages.stream(**MESSAGES) as stream:
            return list(stream.text_stream), stream.get_final_message()

    words, streamed = await stand.with_anthropic(work)
    assert words == list(WORDS)
    assert streamed.usage == message.usage


@pytest.mark.parametrize("streamed", [True, False])
async def test_signatures_survive_a_messages_client(stand: WireStand, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """In a thinking block, whose signature is not Anthropic's and is not taken for it."""
    more: Any = {"tools": MESSAGES_TOOLS, "thinking": {"type": "enabled", "budget_tokens": 1024}}

    def ask(sdk: anthropic.Anthropic) -> Any:
        if not streamed:
            return sdk.messages.create(**MESSAGES, **more)
        with sdk.messages.stream(**MESSAGES, **more) as stream:
            return stream.get_final_message()

    message = await stand.with_anthropic(ask)
    thought, *calls = message.content
    assert (thought.type, thought.thinking) == ("thinking", THOUGHT)
    assert [(call.name, call.input) for call in calls] == [("weather", CITY), ("time", CITY)]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    turns: Any = [
        *MESSAGES["messages"],
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {"role": "user", "content": results},
    ]
    again = {**MESSAGES, **more, "messages": turns}
    answer = await stand.with_anthropic(lambda sdk: sdk.messages.create(**again))
    assert answer.content[-1].text == SENTENCE
    sent: Any = stand.sent("gemini")
    assert sent["contents"][1]["parts"][0]["thoughtSignature"] == SIGNATURE
    await stand.with_anthropic(lambda sdk: sdk.messages.create(**{**again, "model": "gpt-x"}))
    assert SIGNATURE not in json.dumps(stand.sent("openai"))


async def test_an_error_of_gemini_is_typed_for_anthropic(stand: WireStand) -> None:
    """With the wait."""
    stand.upstreams["gemini"].script.always = "answer;status=429"
    with pytest.raises(anthropic.RateLimitError) as raised:
        await stand.with_anthropic(lambda sdk: sdk.messages.create(**MESSAGES))
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "rate_limit_error")
    assert raised.value.response.headers["retry-after"] == "12"


# ---- A client of Gemini's at OpenAI and at Anthropic


@OTHERS
async def test_generated_content_of_others(stand: WireStand, model: str) -> None:
    """The typed answer comes out, with its tokens."""
    config = types.GenerateContentConfig(system_instruction="be brief", max_output_tokens=2000, stop_sequences=["x"])
    answer = await stand.with_gemini(
        lambda sdk: sdk.models.generate_content(model=model, contents="one two three", config=config)
    )
    assert answer.text == SENTENCE
    assert answer.model_version == model
    assert (answer.candidates or [])[0].finish_reason is types.FinishReason.STOP
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == len(WORDS)
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["model"], line["output_tokens"]) == ("gemini", model, len(WORDS))
    sent = stand.sent("anthropic" if model == "claude-x" else "openai")
    assert sent["model"] == model
    assert 2000 in sent.values()


@OTHERS
async def test_streamed_content_of_others(stand: WireStand, model: str) -> None:
    """Word by word, and the tokens at the end."""

    def work(sdk: genai.Client) -> list[types.GenerateContentResponse]:
        return list(sdk.models.generate_content_stream(model=model, contents="one two three"))

    *pieces, last = await stand.with_gemini(work)
    assert [piece.text for piece in pieces] == list(WORDS)
    assert (last.candidates or [])[0].finish_reason is types.FinishReason.STOP
    assert last.usage_metadata is not None
    assert last.usage_metadata.candidates_token_count == len(WORDS)


@OTHERS
async def test_content_of_others_as_an_array(stand: WireStand, model: str) -> None:
    """For who does not ask for events: one JSON document, also where it ends in an error."""
    path = f"/v1beta/models/{model}:streamGenerateContent"
    body: Any = {"contents": [{"parts": [{"text": "one two three"}]}]}
    async with connect(stand.relay.url) as client:
        await client.post_json(path, body, CLIENT_KEY)
        response = await client.read_response()
    assert response.head.get("content-type") == "application/json; charset=UTF-8"
    *pieces, last = response.json()
    assert [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces] == list(WORDS)
    assert last["candidates"][0]["finishReason"] == "STOP"
    stand.upstreams["anthropic" if model == "claude-x" else "openai"].script.always = "reset-mid-body;after=5"
    async with connect(stand.relay.url) as client:
        await client.post_json(path, body, CLIENT_KEY)
        *pieces, last = json.loads((await client.read_response()).body.data)
    assert last["error"]["code"] == 502
    assert not any("finishReason" in piece["candidates"][0] for piece in pieces)


@OTHERS
@pytest.mark.parametrize("streamed", [True, False])
async def test_functions_with_others(stand: WireStand, model: str, streamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """A call, its result, and what another provider signed comes back to it."""
    config = types.GenerateContentConfig(
        tools=[GEMINI_TOOLS],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    question = types.Content(role="user", parts=[types.Part(text="one two three")])

    def ask(sdk: genai.Client) -> list[types.Part]:
        asked: Any = {"model": model, "contents": [question], "config": config}
        if not streamed:
            content: Any = (sdk.models.generate_content(**asked).candidates or [])[0].content
            return list(content.parts)
        answers = list(sdk.models.generate_content_stream(**asked))
        return [part for answer in answers for part in answer.candidates[0].content.parts or []]  # type: ignore[index,union-attr] # each has one

    parts = await stand.with_gemini(ask)
    (call,) = [part.function_call for part in parts if part.function_call]
    assert (call.name, call.args) == ("weather", CITY)
    result = types.Part(
        function_response=types.FunctionResponse(id=call.id, name="weather", response={"output": "sunny"})
    )
    turns: Any = [question, types.Content(role="model", parts=parts), types.Content(role="user", parts=[result])]
    answer = await stand.with_gemini(
        lambda sdk: sdk.models.generate_content(model=model, contents=turns, config=config)
    )
    assert answer.text == SENTENCE
    if model == "gpt-x":
        sent: Any = stand.sent("openai")["messages"]
        assert sent[-1] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    else:
        sent = stand.sent("anthropic")["messages"]
        assert sent[1]["content"][0]["thinking"] == CLAUDES_THOUGHT
        assert sent[1]["content"][0]["signature"]
        assert sent[2]["content"][0]["tool_use_id"] == call.id


@OTHERS
async def test_a_picture_from_a_gemini_client(stand: WireStand, model: str) -> None:
    """As the provider wants it."""
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    await stand.with_gemini(lambda sdk: sdk.models.generate_content(model=model, contents=[picture, "?"]))
    sent: Any = stand.sent("anthropic" if model == "claude-x" else "openai")
    assert "iVBORw==" in json.dumps(sent["messages"][0]["content"][0])


GEMINI_ERRORS = [
    (400, 400, "INVALID_ARGUMENT"),
    (404, 404, "NOT_FOUND"),
    (429, 429, "RESOURCE_EXHAUSTED"),
    (503, 503, "UNAVAILABLE"),
]


@OTHERS
@pytest.mark.parametrize(("status", "told", "word"), GEMINI_ERRORS)
async def test_errors_of_others_are_typed_for_gemini(
    stand: WireStand, model: str, status: int, told: int, word: str
) -> None:
    """In Google's shape."""
    for upstream in stand.upstreams.values():
        upstream.script.always = f"answer;status={status}"
    with pytest.raises(errors.APIError) as raised:
        await stand.with_gemini(lambda sdk: sdk.models.generate_content(model=model, contents="x"))
    assert (raised.value.code, raised.value.status) == (told, word)


@pytest.mark.parametrize("broken", ["truncated-chunked", "reset-mid-body"])
async def test_a_stream_cut_short_is_told_in_the_clients_dialect(stand: WireStand, broken: str) -> None:
    """Both ways; success is never pretended."""
    for upstream in stand.upstreams.values():
        upstream.script.always = f"{broken};after=4"
    for model in ("gpt-x", "claude-x"):
        with pytest.raises(errors.ServerError):
            await stand.with_gemini(partial(_streamed, model))
    with pytest.raises(openai.APIError):
        await stand.with_openai(lambda sdk: list(sdk.chat.completions.create(**CHAT, stream=True)))

    def messages(sdk: anthropic.Anthropic) -> None:
        with sdk.messages.stream(**MESSAGES) as stream:
            stream.until_done()

    with pytest.raises(anthropic.APIStatusError):
        await stand.with_anthropic(messages)


def _streamed(model: str, sdk: genai.Client) -> list[types.GenerateContentResponse]:
    return list(sdk.models.generate_content_stream(model=model, contents="x"))


async def test_what_would_make_the_answer_wrong_is_refused(stand: WireStand) -> None:
    """400 in Google's shape, and the field is named."""
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    with pytest.raises(errors.ClientError, match=r"tools\[0\]\.googleSearch") as raised:
        await stand.with_gemini(lambda sdk: sdk.models.generate_content(model="gpt-x", contents="x", config=config))
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    assert stand.upstreams["openai"].request_count == 0
