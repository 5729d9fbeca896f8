"""A request keeps its meaning on its way to the Gemini API, and from a client of it to others."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from anthropic_streams import call as messages_call
from gemini_streams import call as gemini_call
from gemini_streams import mutants
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import call as chat_call

from adaptors.anthropic import Anthropic
from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.gemini import Gemini
from adaptors.jsonbytes import encoded
from adaptors.translation.carrier import packed, sealed
from adaptors.translation.chat_request import Options, read_chat_request, write_chat_request
from adaptors.translation.conversation import (
    ChatRequest,
    Document,
    Image,
    Message,
    OutputFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from adaptors.translation.gemini_content import SKIP_SIGNATURE, GenerateOptions
from adaptors.translation.gemini_request import read_generate_request, write_generate_request
from adaptors.translation.messages_request import read_messages_request, write_messages_request
from adaptors.values import ProviderAccount

OPENAI = next(row for row in COMPATIBLE if row.name == "openai")
OPTIONS = Options(limit_field="max_completion_tokens", takes_effort=True, replays_reasoning=False)
ACCOUNT = ProviderAccount("https://api.example", "k")
GENERATE = b"/v1beta/models/gemini-2.5-flash:generateContent"

# ---- Round trips

MANY = settings(max_examples=100, deadline=None, derandomize=True)

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: text.strip() == text)
NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,10}", fullmatch=True)
OBJECTS = st.dictionaries(NAMES, st.booleans() | st.integers(-99, 99) | WORDS | st.lists(WORDS, max_size=2), max_size=3)
TYPES = st.sampled_from([{"type": "string"}, {"type": "integer", "minimum": 1}, {"enum": ["a", "b"]}])
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(NAMES, TYPES, min_size=1, max_size=3)}
)
TEXTS = st.builds(Text, WORDS)
SHOWN: st.SearchStrategy[Any] = TEXTS | st.sampled_from(
    [
        Image("image/png", "iVBORw0KGgo="),
        Image(url="https://example.com/cat.png"),
        Document("application/pdf", "JVBERi0="),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Draw a request that Gemini's format can say, and the two others too."""
    messages = [Message("system", (draw(TEXTS),))] if draw(st.booleans()) else []
    calls: list[ToolCall] = []
    for turn in range(draw(st.integers(1, 3))):
        results = [ToolResult(call.id, (draw(TEXTS),)) for call in calls]
        messages.append(Message("user", (*results, *draw(st.lists(SHOWN, min_size=1, max_size=3)))))
        calls = [
            ToolCall(f"call-{turn}-{at}", draw(NAMES), encoded(draw(OBJECTS)).decode())
            for at in range(draw(st.integers(0, 3)))
        ]
        messages.append(Message("assistant", (draw(TEXTS), *calls)))
    tools = tuple(draw(st.lists(st.builds(Tool, NAMES, WORDS, SCHEMAS), max_size=2)))
    choices = [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("any"), ToolChoice("one", "x")]
    return ChatRequest(
        model="gemini-2.5-flash",
        messages=tuple(messages),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)) if tools else None,
        max_tokens=draw(st.integers(1, 99_999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        output=draw(st.none() | st.builds(OutputFormat, SCHEMAS)),
    )


@st.composite
def requests_of_chat(draw: st.DrawFn) -> ChatRequest:
    """Draw a request with what chat can say too, and Anthropic's format cannot."""
    return msgspec.structs.replace(
        draw(requests()),
        seed=draw(st.none() | st.integers(0, 99)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        candidates=draw(st.integers(1, 8)),
        logprobs=draw(st.none() | st.integers(0, 5)),
    )


def normal(request: ChatRequest) -> ChatRequest:
    """Return the request without what is a label alone: the names of files and of the output's schema."""
    messages = tuple(Message(turn.role, tuple(map(_unnamed, turn.parts))) for turn in request.messages)
    output = None if request.output is None else OutputFormat(request.output.schema)
    return msgspec.structs.replace(request, messages=_joined(messages), output=output)


def _unnamed(part: Any) -> Any:
    return msgspec.structs.replace(part, title="") if isinstance(part, Document) else part


def _joined(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    joined: list[Message] = []
    for message in messages:
        before = joined.pop().parts if joined and joined[-1].role == message.role else ()
        joined.append(Message(message.role, before + message.parts))
    return tuple(joined)


def through_gemini(request: ChatRequest) -> ChatRequest:
    body, dropped = write_generate_request(request, request.model, GenerateOptions())
    assert dropped == ()
    return normal(read_generate_request(gemini_call(GENERATE, encoded(body))))


def through_chat(request: ChatRequest) -> ChatRequest:
    return normal(read_chat_request(encoded(write_chat_request(request, request.model, OPTIONS)[0])))


def through_messages(request: ChatRequest) -> ChatRequest:
    return normal(read_messages_request(encoded(write_messages_request(request, "claude-sonnet-4-5")[0])))


@MANY
@given(requests_of_chat())
def test_what_chat_and_gemini_can_say_survives_the_round_trip(request: ChatRequest) -> None:
    """From chat to Gemini's format and back."""
    assert through_gemini(request) == normal(request)
    assert through_chat(through_gemini(through_chat(request))) == normal(request)


@MANY
@given(requests())
def test_what_messages_and_gemini_can_say_survives_the_round_trip(request: ChatRequest) -> None:
    """From Anthropic's format to Gemini's and back."""
    wanted = msgspec.structs.replace(normal(request), model="claude-sonnet-4-5")
    if wanted.temperature is not None:  # of the two, models take one
        wanted = msgspec.structs.replace(wanted, top_p=None)
    assert through_messages(through_gemini(wanted)) == through_messages(wanted)


# ---- To the Gemini API


def sent_to_gemini(model: str = "gemini-2.5-flash", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    body = json.dumps({"model": model, "messages": messages, **fields}).encode()
    request = Gemini().request(chat_call(body=body, stream=False), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


# What a client of OpenAI's is shown to send (https://platform.openai.com/docs/guides/function-calling), and what one of
# Google's is (https://ai.google.dev/gemini-api/docs/function-calling, the REST examples).
WEATHER: Any = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "City and country e.g. Bogotá, Colombia"}},
    "required": ["location"],
    "additionalProperties": False,
}


def test_a_conversation_with_tools() -> None:
    """System texts from anywhere, turns of one role as one, results by the names of their calls, results first."""
    called = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_12345xyz", "type": "function",
         "function": {"name": "get_weather", "arguments": '{"location":"Paris, France"}'}},
        {"id": "call_67890abc", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ]}  # fmt: skip
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather like in Paris today?"},
        called,
        {"role": "user", "content": "and?"},
        {"role": "tool", "tool_call_id": "call_12345xyz", "content": "14"},
        {"role": "tool", "tool_call_id": "call_67890abc", "content": "noon"},
    ]
    tool = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": WEATHER}}
    sent, dropped = sent_to_gemini(messages=turns, tools=[tool], tool_choice="required")
    assert dropped == ()
    assert sent == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "What is the weather like in Paris today?"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "call_12345xyz", "name": "get_weather", "args": {"location": "Paris, France"}}},
                {"functionCall": {"id": "call_67890abc", "name": "get_time", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "call_12345xyz", "name": "get_weather", "response": {"output": "14"}}},
                {"functionResponse": {"id": "call_67890abc", "name": "get_time", "response": {"output": "noon"}}},
                {"text": "and?"},
            ]},
        ],
        "tools": [{"functionDeclarations": [
            {"name": "get_weather", "description": "d", "parametersJsonSchema": WEATHER}
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }  # fmt: skip


def test_the_address_names_model_and_stream() -> None:
    """And the key is ours."""
    body = b'{"model":"m","messages":[]}'
    whole = Gemini().request(chat_call(body=body, stream=False), ACCOUNT, "tuned/x")
    assert whole.url == "https://api.example/v1beta/models/tuned/x:generateContent"
    assert (b"x-goog-api-key", b"k") in whole.headers
    streamed = Gemini().request(messages_call(body=body[:-1] + b',"max_tokens":1}', stream=True), ACCOUNT, "models/x")
    assert streamed.url == "https://api.example/v1beta/models/x:streamGenerateContent?alt=sse"


CONFIGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 5, "temperature": 1.5, "top_p": 0.5}, {"maxOutputTokens": 5, "temperature": 1.5, "topP": 0.5}),
    ({"stop": "x", "seed": 7, "n": 2}, {"stopSequences": ["x"], "seed": 7, "candidateCount": 2}),
    ({"presence_penalty": 0.5, "frequency_penalty": -1}, {"presencePenalty": 0.5, "frequencyPenalty": -1.0}),
    ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
    ({"logprobs": True}, {"responseLogprobs": True}),
    ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER}}},
        {"responseMimeType": "application/json", "responseJsonSchema": WEATHER},
    ),
]


@pytest.mark.parametrize(("said", "config"), CONFIGS)
def test_how_the_answer_is_wanted(said: dict[str, Any], config: dict[str, Any]) -> None:
    """In the words of the API, and nothing beside them."""
    sent, dropped = sent_to_gemini(**said)
    assert sent["generationConfig"] == config
    assert dropped == ()


TOOL = {"type": "function", "function": {"name": "f", "parameters": WEATHER, "strict": True}}
DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"user": "u", "metadata": {"a": "b"}, "service_tier": "flex"}, ("metadata", "service_tier", "user")),
    ({"tools": [TOOL], "parallel_tool_calls": False}, ("parallel_tool_calls", "strict")),
    ({"logit_bias": {"1": 2}}, ("logit_bias",)),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]},
     ("cache_control",)),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"type": "string", "pattern": "a+", "$schema": "s", "default": "a"}}}}, ("schema.pattern",)),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "dropped"), DROPPED)
def test_what_gemini_cannot_be_told_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """The answer is right without it."""
    assert sent_to_gemini(**fields)[1] == dropped


RESULT: Any = {"role": "tool", "tool_call_id": "c", "content": "x"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"stop": list("abcdef")}, "stop"),
    ({"messages": [RESULT]}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_what_would_get_a_wrong_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """The field is named."""
    with pytest.raises(BadBody) as refused:
        sent_to_gemini(**fields)
    assert refused.value.param == param


EFFORTS: list[tuple[str, str, dict[str, Any] | None, tuple[str, ...]]] = [
    ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}, ()),
    ("gemini-2.5-flash", "none", {"thinkingBudget": 0}, ()),
    ("gemini-2.5-flash", "xhigh", {"thinkingBudget": 24_576, "includeThoughts": True}, ()),
    ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}, ()),
    ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, ("reasoning_effort",)),
    ("gemini-2.5-pro", "xhigh", {"thinkingBudget": 32_768, "includeThoughts": True}, ()),
    ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}, ()),
    ("gemini-3.1-pro", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}, ()),
    ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}, ()),
    ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}, ()),
    ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW"}, ("reasoning_effort",)),
    ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}, ()),
    ("gemini-2.0-flash", "high", None, ("reasoning_effort",)),
    ("gemini-2.0-flash", "none", None, ()),
]


@pytest.mark.parametrize(("model", "effort", "config", "dropped"), EFFORTS)
def test_an_effort_becomes_a_level_or_a_budget(
    model: str, effort: str, config: dict[str, Any] | None, dropped: tuple[str, ...]
) -> None:
    """As the model's family takes it."""
    sent, left_out = sent_to_gemini(model, reasoning_effort=effort)
    assert sent.get("generationConfig", {}).get("thinkingConfig") == config
    assert left_out == dropped


BUDGETS = [
    ("gemini-2.5-flash-lite", 100, {"thinkingBudget": 512}),
    ("gemini-2.5-flash", 5000, {"thinkingBudget": 5000}),
    ("gemini-3-flash", 5000, {"thinkingLevel": "MEDIUM"}),
    ("gemini-3-flash", 2000, {"thinkingLevel": "LOW"}),
]


@pytest.mark.parametrize(("model", "budget", "config"), BUDGETS)
def test_a_budget_of_anthropics_becomes_a_level_or_a_budget(model: str, budget: int, config: dict[str, Any]) -> None:
    """Within the model's limits."""
    thinking = {"type": "enabled", "budget_tokens": budget}
    fields = {"model": model, "max_tokens": 9, "messages": [], "thinking": thinking}
    request = Gemini().request(messages_call(body=json.dumps(fields).encode()), ACCOUNT, model)
    sent = json.loads(request.body or b"")["generationConfig"]["thinkingConfig"]
    assert sent == config | {"includeThoughts": True}


def test_pictures_and_files() -> None:
    """Bytes, and addresses, whose type is told where the address tells it; what a result shows, the user shows."""
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    result = {"type": "tool_result", "tool_use_id": "c", "is_error": True,
              "content": [{"type": "text", "text": "see"}, {"type": "image", "source": source}]}  # fmt: skip
    turns = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            result,
            {"type": "image", "source": {"type": "url", "url": "https://x/a.JPG?b=c"}},
            {"type": "document", "source": {"type": "url", "url": "https://x/y"}},
        ]},
    ]  # fmt: skip
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode()
    sent = json.loads(Gemini().request(messages_call(body=body), ACCOUNT, "gemini-2.5-pro").body or b"")
    assert sent["contents"][1]["parts"] == [
        {"functionResponse": {"id": "c", "name": "f", "response": {"error": "see"}}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://x/a.JPG?b=c", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://x/y"}},
    ]


# ---- What was thought

SIGNED = Thinking("", "U0lH", origin="gemini_generate")
FOREIGN = Thinking("hm", "EqQB", origin="anthropic_messages")


def model_turn(model: str, *parts: Any) -> Any:
    request = ChatRequest(model, (Message("user", (Text("q"),)), Message("assistant", parts)))
    return write_generate_request(request, model, GenerateOptions())[0]["contents"][1]["parts"]


def test_a_signature_goes_back_with_its_call() -> None:
    """Of parallel calls, with the first: where the API gave it."""
    calls = [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")]
    first, second = model_turn("gemini-3-flash", SIGNED, *calls)
    assert first["thoughtSignature"] == "U0lH"
    assert "thoughtSignature" not in second
    words, call = model_turn("gemini-3-flash", SIGNED, Text("so"), calls[0])
    assert (words, call["thoughtSignature"]) == ({"text": "so"}, "U0lH")


def test_a_signature_without_a_call_goes_back_with_the_words() -> None:
    """Or with none."""
    assert model_turn("gemini-3-flash", Text("so"), SIGNED) == [{"text": "so", "thoughtSignature": "U0lH"}]
    assert model_turn("gemini-3-flash", SIGNED) == [{"text": "", "thoughtSignature": "U0lH"}]


@pytest.mark.parametrize("thoughts", [(), (FOREIGN,), (Thinking("unsigned"),)])
def test_a_call_that_gemini_did_not_make_says_so(thoughts: tuple[Thinking, ...]) -> None:
    """Or models from Gemini 3 on refuse it; older ones need not be told. What others thought stays at home."""
    call = ToolCall("a", "f", "{}")
    (part,) = model_turn("gemini-3.1-pro", *thoughts, call)
    assert part["thoughtSignature"] == SKIP_SIGNATURE
    (part,) = model_turn("gemini-2.5-pro", *thoughts, call)
    assert "thoughtSignature" not in part


def test_signatures_survive_clients_of_other_formats() -> None:
    """In the id of a chat client's call; sealed, as the signature of a messages client's thought."""
    call = {"id": packed("c", [SIGNED]), "type": "function", "function": {"name": "f", "arguments": "{}"}}
    sent, _ = sent_to_gemini("gemini-3-flash", messages=[{"role": "assistant", "tool_calls": [call]}])
    assert sent["contents"][0]["parts"] == [
        {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "U0lH"}
    ]
    blocks = [{"type": "thinking", "thinking": "", "signature": sealed([SIGNED])},
              {"type": "tool_use", "id": "c", "name": "f", "input": {}}]  # fmt: skip
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": blocks}]}
    request = Gemini().request(messages_call(body=json.dumps(body).encode()), ACCOUNT, "gemini-3-flash")
    assert json.loads(request.body or b"")["contents"] == sent["contents"]


def test_what_another_provider_signed_reaches_gemini_as_a_call_of_no_ones() -> None:
    """Where a client of Gemini's goes on with Gemini after it had another provider."""
    signature = sealed([FOREIGN])
    body = json.dumps({"contents": [{"parts": [{"functionCall": {}, "thoughtSignature": signature}]}]}).encode()
    request = Gemini().request(gemini_call(body=body), ACCOUNT, "gemini-2.5-flash")
    assert request.body == body.replace(signature.encode(), SKIP_SIGNATURE.encode())


# ---- From a client of the Gemini API


def read(**document: Any) -> ChatRequest:
    return read_generate_request(gemini_call(GENERATE, json.dumps(document).encode()))


def test_a_documented_request_is_understood() -> None:
    """https://ai.google.dev/gemini-api/docs/function-calling, "Multi-turn", in the API's own form of a schema."""
    declared = {
        "name": "set_light_values",
        "description": "Sets the brightness and color temperature of a light.",
        "parameters": {
            "type": "OBJECT",
            "properties": {
                "brightness": {"type": "INTEGER", "description": "Light level from 0 to 100.", "nullable": True},
                "color_temp": {"type": "STRING", "format": "enum", "enum": ["daylight", "cool", "warm"]},
            },
            "required": ["brightness"],
        },
    }
    asked = {
        "contents": [
            {"role": "user", "parts": [{"text": "Turn the lights down to a romantic level"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "set_light_values", "args": {"color_temp": "warm", "brightness": 25}},
                 "thoughtSignature": "CpwBAVSoXO4="}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "set_light_values", "response": {"result": {"brightness": 25}}}}]},
        ],
        "tools": [{"functionDeclarations": [declared]}],
        "toolConfig": {"functionCallingConfig": {"mode": "any", "allowedFunctionNames": ["set_light_values"]}},
    }  # fmt: skip
    request = read(**asked)
    schema = {
        "type": "object",
        "properties": {
            "brightness": {"type": ["integer", "null"], "description": "Light level from 0 to 100."},
            "color_temp": {"type": "string", "enum": ["daylight", "cool", "warm"]},
        },
        "required": ["brightness"],
    }
    assert request.tools == (Tool(declared["name"], declared["description"], schema),)  # type: ignore[arg-type] # texts
    assert request.tool_choice == ToolChoice("one", "set_light_values")
    assert request.messages == (
        Message("user", (Text("Turn the lights down to a romantic level"),)),
        Message("assistant", (
            Thinking("", "CpwBAVSoXO4=", origin="gemini_generate"),
            ToolCall("call_1", "set_light_values", '{"color_temp":"warm","brightness":25}'),
        )),
        Message("user", (ToolResult("call_1", (Text('{"brightness":25}'),)),)),
    )  # fmt: skip
    assert (request.model, request.stream, request.dropped) == ("gemini-2.5-flash", False, ())


def test_names_with_underscores_are_understood() -> None:
    """As Google's own examples for curl write them; what is the client's own keeps them."""
    request = read(
        system_instruction={"parts": [{"text": "s"}]},
        contents=[
            {"parts": [{"inline_data": {"mime_type": "image/jpeg", "data": "a-_bcA"}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a_b": 1}}}]},
        ],
        generation_config={"max_output_tokens": 5, "thinking_config": {"thinking_budget": 0}},
        tools=[{"function_declarations": [{"name": "f", "parameters_json_schema": {"properties": {"a_b": {}}}}]}],
    )
    assert request.messages[0] == Message("system", (Text("s"),))
    assert request.messages[1] == Message("user", (Image("image/jpeg", "a+/bcA=="),))
    assert request.messages[2].parts == (ToolCall("call_1", "f", '{"a_b":1}'),)
    assert request.tools[0].schema == {"properties": {"a_b": {}}}
    assert request.max_tokens == 5
    assert request.reasoning is not None
    assert request.reasoning.effort == "none"


def test_results_without_ids_find_their_calls() -> None:
    """By name and order; with ids, by those."""
    calls = [{"functionCall": {"name": name}} for name in ("f", "g", "f")]
    results = [{"functionResponse": {"name": name, "response": {"output": text}}}
               for name, text in (("g", "1"), ("f", "2"), ("f", "3"))]  # fmt: skip
    turns = [{"role": "model", "parts": calls}, {"role": "function", "parts": results}]
    assert [(part.id, part.parts[0].text) for part in read(contents=turns).messages[1].parts] == [  # type: ignore[union-attr] # results
        ("call_2", "1"),
        ("call_1", "2"),
        ("call_3", "3"),
    ]
    named = [{"role": "model", "parts": [{"functionCall": {"id": "x", "name": "f"}}]},
             {"parts": [{"functionResponse": {"id": "x", "name": "f", "response": {"error": "no"}}}]}]  # fmt: skip
    assert read(contents=named).messages[1].parts == (ToolResult("x", (Text("no"),), is_error=True),)


def test_what_others_signed_comes_back_to_them() -> None:
    """In the place of the signature, with the very words; what is only shown is told without one."""
    parts: list[Any] = [{"text": "h", "thought": True}, {"text": "m", "thought": True},
             {"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": sealed([FOREIGN])}]  # fmt: skip
    (message,) = read(contents=[{"role": "model", "parts": parts}]).messages
    assert message.parts == (FOREIGN, ToolCall("c", "f", "{}"))
    del parts[2]["thoughtSignature"]
    (message,) = read(contents=[{"role": "model", "parts": parts}]).messages
    assert message.parts[-1] == Thinking("hm")


FILES: list[tuple[dict[str, Any], Any]] = [
    ({"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}}, Document("application/pdf", "JVBE")),
    ({"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}, Document("audio/wav", "UklG")),
    ({"inlineData": {"mimeType": "text/plain", "data": "aGk"}}, Text("hi")),
    ({"fileData": {"fileUri": "https://x/cat.png"}}, Image(url="https://x/cat.png")),
    (
        {"fileData": {"fileUri": "https://x/y", "mimeType": "application/pdf"}},
        Document("application/pdf", url="https://x/y"),
    ),
]


@pytest.mark.parametrize(("part", "value"), FILES)
def test_files_are_read(part: dict[str, Any], value: Any) -> None:
    """By their types."""
    assert read(contents=[{"parts": [part]}]).messages == (Message("user", (value,)),)


def test_only_functions_that_may_be_called_are_offered() -> None:
    """Where a list of several limits the choice."""
    declared = [{"name": name} for name in "abc"]
    calling = {"mode": "ANY", "allowedFunctionNames": ["a", "c"]}
    request = read(tools=[{"functionDeclarations": declared}], toolConfig={"functionCallingConfig": calling})
    assert [tool.name for tool in request.tools] == ["a", "c"]
    assert request.tool_choice == ToolChoice("any")


THOUGHTS: list[tuple[dict[str, Any], tuple[str, int, bool | None] | None]] = [
    ({"thinkingBudget": 0}, ("none", 0, None)),
    ({"thinkingBudget": -1}, None),
    ({"thinkingBudget": 5000, "includeThoughts": False}, ("", 5000, False)),
    ({"thinkingLevel": "LOW"}, ("low", 0, None)),
    ({"includeThoughts": True}, ("", 0, True)),
    ({}, None),
]


@pytest.mark.parametrize(("config", "wanted"), THOUGHTS)
def test_how_much_to_think_is_read(config: dict[str, Any], wanted: tuple[str, int, bool | None] | None) -> None:
    """In levels or tokens; what is as the model likes is not said."""
    reasoning = read(generationConfig={"thinkingConfig": config}).reasoning
    assert (None if reasoning is None else (reasoning.effort, reasoning.budget, reasoning.shown)) == wanted


GEMINI_DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"safetySettings": [{"category": "c"}], "labels": {"a": "b"}, "store": False}, ("safetySettings", "labels", "store")),
    ({"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}, ("mediaResolution",)),
    ({"generationConfig": {"responseModalities": ["Text"], "candidateCount": 1}, "safety_settings": []}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "dropped"), GEMINI_DROPPED)
def test_what_others_cannot_be_told_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """The answer is right without it."""
    assert read(**fields).dropped == dropped


GEMINI_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cachedContent": "cachedContents/x"}, "cachedContent"),
    ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
    ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "generationConfig.responseModalities"),
    ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
    ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
    ({"contents": [{"role": "robot"}]}, "contents[0].role"),
    ({"contents": [{"parts": [{"executableCode": {}}]}]}, "contents[0].parts[0]"),
    ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/c"}}]}]}, "contents[0].parts[0].fileData.fileUri"),
    ({"contents": [{"parts": [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}}]}]},
     "contents[0].parts[0].fileData.fileUri"),
    ({"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": "ä"}}]}]},
     "contents[0].parts[0].inlineData.data"),
    ({"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}, "contents[0].parts[0].functionResponse"),
    ({"contents": "hi"}, "contents"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), GEMINI_REFUSED)
def test_a_gemini_request_that_would_get_a_wrong_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """The field is named, also where it is only of the wrong type."""
    with pytest.raises(BadBody) as refused:
        read(**fields)
    assert refused.value.param == param
    assert param in refused.value.message


EVERYTHING: Any = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [
            {"inlineData": {"mimeType": "text/plain", "data": "AA"}},
            {"fileData": {"fileUri": "https://x/y.pdf", "mimeType": "application/pdf"}}]},
        {"role": "model", "parts": [
            {"text": "t", "thought": True, "thoughtSignature": sealed([FOREIGN])},
            {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}, "thoughtSignature": "U0"}]},
        {"role": "user", "parts": [{"functionResponse": {
            "name": "f", "id": "c", "response": {"output": "x"},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {
        "type": "OBJECT", "properties": {"a": {"type": "ARRAY", "minItems": "2", "items": {"nullable": True}}}}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
    "generationConfig": {"stopSequences": ["x"], "topK": 3.0, "responseMimeType": "application/json",
                         "responseSchema": {"type": "OBJECT"}, "candidateCount": 1, "responseLogprobs": False,
                         "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True},
                         "responseModalities": ["TEXT"]},
}  # fmt: skip


def test_no_request_breaks_its_reader_or_a_writer() -> None:
    """Whatever stands in whatever place, the client is told what is wrong, or it is right."""
    for mutant in mutants(EVERYTHING):
        asked = gemini_call(GENERATE, json.dumps(mutant).encode())
        for provider in (OPENAI, Anthropic()):
            with contextlib.suppress(BadBody):
                provider.request(asked, ACCOUNT, "claude-sonnet-4-5")


def test_no_schema_breaks_a_request() -> None:
    """Schemas are the client's, and may be anything."""
    schema = {"$schema": "s", "definitions": {"a": {"const": 1}}, "allOf": [{"type": "object"}],
              "properties": {"b": {"$ref": "#/definitions/a", "anyOf": [{"pattern": "x"}]}}}  # fmt: skip
    for mutant in mutants(schema):
        with contextlib.suppress(BadBody):
            sent_to_gemini(tools=[{"type": "function", "function": {"name": "f", "parameters": mutant}}])


def test_other_providers_refuse_what_they_cannot() -> None:
    """A client of Gemini's is told so as any other is."""
    body = json.dumps({"contents": [], "generationConfig": {"candidateCount": 2}}).encode()
    with pytest.raises(BadBody) as refused:
        Anthropic().request(gemini_call(GENERATE, body), ACCOUNT, "claude-x")
    assert refused.value.param == "n"
    sent = OPENAI.request(gemini_call(GENERATE, body), ACCOUNT, "gpt-x").body
    assert json.loads(sent or b"")["n"] == 2
