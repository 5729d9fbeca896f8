"""A request of the Responses API keeps its meaning elsewhere; what cannot be said is named or refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic_streams import call as messages_call
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import call as chat_call
from responses_streams import BOSTON, SEALED, call, function_call, message, reasoning
from test_translation_requests import IMAGES, NAMES, SCHEMAS, TEXTS, WORDS

from adaptors.anthropic import Anthropic
from adaptors.azure import Azure
from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.jsonbytes import encoded
from adaptors.translation.carrier import packed, sealed
from adaptors.translation.chat_request import SHARED_FIELDS, Options, read_chat_request, write_chat_request
from adaptors.translation.conversation import (
    ChatRequest,
    Citation,
    Document,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from adaptors.translation.messages_request import read_messages_request, write_messages_request
from adaptors.translation.responses_content import ORIGIN
from adaptors.translation.responses_request import read_responses_request, responses_echo, write_responses_request
from adaptors.values import ProviderAccount

OPENAI = next(row for row in COMPATIBLE if row.name == "openai")
DEEPSEEK = next(row for row in COMPATIBLE if row.name == "deepseek")
ACCOUNT = ProviderAccount("https://api.example", "k")
BY_RESPONSES = ProviderAccount("https://api.example", "k", options={"api": "responses"})
BY_CHAT = ProviderAccount("https://api.example", "k", options={"api": "chat"})


def read(**fields: Any) -> ChatRequest:
    return read_responses_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def written(request: ChatRequest, *, reasons: bool = True) -> tuple[dict[str, Any], tuple[str, ...]]:
    body, dropped = write_responses_request(request, "m", origin=ORIGIN, reasons=reasons, shared_fields=SHARED_FIELDS)
    return body, dropped


# ---- Read: the examples of OpenAI's reference

THERE = "https://upload.wikimedia.org/wikipedia/commons/thumb/d/dd/Gfp-wisconsin-madison-the-nature-boardwalk.jpg"
PARAMETERS = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["location", "unit"],
}
WEATHER = {"type": "function", "name": "get_current_weather", "description": "Get it", "parameters": PARAMETERS}

READ: dict[str, tuple[dict[str, Any], ChatRequest]] = {
    "text input": (
        {"input": "Tell me a three sentence bedtime story about a unicorn."},
        ChatRequest("m", (Message("user", (Text("Tell me a three sentence bedtime story about a unicorn."),)),)),
    ),
    "image input": (
        {"input": [{"role": "user", "content": [
            {"type": "input_text", "text": "what is in this image?"}, {"type": "input_image", "image_url": THERE}]}]},
        ChatRequest("m", (Message("user", (Text("what is in this image?"), Image(url=THERE))),)),
    ),
    "streaming": (
        {"instructions": "You are a helpful assistant.", "input": "Hello!", "stream": True},
        ChatRequest("m", (Message("system", (Text("You are a helpful assistant."),)), Message("user", (Text("Hello!"),))),
                    stream=True),
    ),
    "functions": (
        {"input": "What is the weather like in Boston today?", "tools": [WEATHER], "tool_choice": "auto"},
        ChatRequest("m", (Message("user", (Text("What is the weather like in Boston today?"),)),),
                    tools=(Tool("get_current_weather", "Get it", PARAMETERS),), tool_choice=ToolChoice("auto")),
    ),
    "reasoning": (
        {"input": "How much wood?", "reasoning": {"effort": "high"}},
        ChatRequest("m", (Message("user", (Text("How much wood?"),)),), reasoning=Reasoning("high")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_the_examples_of_the_reference_are_read(name: str) -> None:
    """As what they ask for."""
    fields, request = READ[name]
    assert read(**fields) == request


def test_items_become_turns() -> None:
    """A thought, words and calls are one turn of the model's; the results of parallel calls are one of the user's."""
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        reasoning("hm", "so", sealed=SEALED),
        message("Let me see."),
        function_call(1, "get_current_weather", BOSTON),
        function_call(2, "time", "{}"),
        {"type": "function_call_output", "call_id": "call_12345xyz1", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "call_12345xyz2",
            "output": [{"type": "input_text", "text": "noon"}],
        },
        message("Sunny."),
        message("Noon."),
        {"role": "user", "content": "thanks"},
        {"role": "user", "content": "bye"},
    ]
    assert read(input=items).messages == (
        Message("system", (Text("be brief"),)),
        Message("user", (Text("weather?"),)),
        Message(
            "assistant",
            (
                Thinking("hm\n\nso", hidden=SEALED, origin="openai_responses"),
                Text("Let me see."),
                ToolCall("call_12345xyz1", "get_current_weather", BOSTON),
                ToolCall("call_12345xyz2", "time", "{}"),
            ),
        ),
        Message(
            "user",
            (ToolResult("call_12345xyz1", (Text("sunny"),)), ToolResult("call_12345xyz2", (Text("noon"),))),
        ),
        Message("assistant", (Text("Sunny."),)),
        Message("assistant", (Text("Noon."),)),
        Message("user", (Text("thanks"),)),
        Message("user", (Text("bye"),)),
    )


PARTS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "input_image", "image_url": "data:image/jpeg;base64,AAAA", "detail": "auto"}, Image("image/jpeg", "AAAA")),
    ({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
     Document("application/pdf", "JVBE", title="a.pdf")),
    ({"type": "input_file", "file_url": "https://www.berkshirehathaway.com/letters/2024ltr.pdf"},
     Document(url="https://www.berkshirehathaway.com/letters/2024ltr.pdf")),
    ({"type": "refusal", "refusal": "No."}, Refusal("No.")),
    ({"type": "output_text", "text": "On March 6", "annotations": [
        {"type": "url_citation", "start_index": 2, "end_index": 9, "url": "https://x.y", "title": "T"},
        {"type": "file_citation", "index": 992, "file_id": "file-1", "filename": "f"}]},
     Text("On March 6", (Citation("https://x.y", "T", start=2, end=9),))),
]  # fmt: skip


@pytest.mark.parametrize(("part", "meant"), PARTS)
def test_parts_of_messages(part: dict[str, Any], meant: Any) -> None:
    """Pictures, files, refusals, citations."""
    assert read(input=[{"role": "assistant", "content": [part]}]).messages == (Message("assistant", (meant,)),)


THOUGHT = Thinking("hm", "sig", origin="anthropic_messages")
CARRYING = packed("call_12345xyz1", [THOUGHT])
SEALED_ITEM = reasoning("hm", sealed=sealed([THOUGHT]))


@pytest.mark.parametrize(
    ("items", "parts"),
    [
        ([SEALED_ITEM, message("so")], (THOUGHT, Text("so"))),
        ([message("so")], (THOUGHT, Text("so"))),
        ([SEALED_ITEM], (THOUGHT,)),
        ([], (THOUGHT,)),
    ],
)
def test_a_thought_comes_back_once(items: list[Any], parts: tuple[Any, ...]) -> None:
    """In its own item and in the call's id, or, from a client that drops the one, in the id alone."""
    called = {**function_call(1, "f", "{}"), "call_id": CARRYING}
    result = {"type": "function_call_output", "call_id": CARRYING, "output": "x"}
    model, user = read(input=[*items, called, result]).messages
    assert model.parts == (*parts, ToolCall("call_12345xyz1", "f", "{}"))
    assert user.parts == (ToolResult("call_12345xyz1", (Text("x"),)),)


def test_other_wishes() -> None:
    """Each where the other formats look for it."""
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    request = read(
        max_output_tokens=99, temperature=0.5, top_p=0.9, parallel_tool_calls=False, user="u", metadata={"a": "b"},
        service_tier="flex", prompt_cache_key="k", text={"format": schema, "verbosity": "low"}, top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"], tool_choice={"type": "function", "name": "f"},
        reasoning={"effort": "low", "summary": "auto"}, store=False, truncation="disabled", max_tool_calls=3,
        stream_options={"include_obfuscation": False},
    )  # fmt: skip
    assert (request.max_tokens, request.temperature, request.top_p, request.parallel) == (99, 0.5, 0.9, False)
    assert (request.user, request.logprobs) == ("u", 2)
    assert request.openai == {
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k", "verbosity": "low"
    }  # fmt: skip
    assert request.output == OutputFormat({"type": "object"}, "n", strict=True)
    assert request.reasoning == Reasoning("low", shown=True)
    assert request.tool_choice == ToolChoice("one", "f")
    assert request.dropped == ()


DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"store": True, "truncation": "auto"}, ("store", "truncation")),
    ({"something_new": 1, "nothing": None}, ("something_new",)),
    (
        {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, message("so")]},
        ("web_search_call",),
    ),
    ({"background": False, "previous_response_id": None, "metadata": {}, "tools": []}, ()),
]


@pytest.mark.parametrize(("fields", "dropped"), DROPPED)
def test_what_is_left_out_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """The answer is right without it."""
    assert read(**fields).dropped == dropped


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"background": True}, "background"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
    ({"input": [{"content": "x"}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [7]}, "input[0]"),
    ({"input": 7}, "input"),
    ({"input": None}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, "input[0].content[0].file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, "input[0].content[0].file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "custom", "name": "code_exec"}]}, "tools[0].type"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_output_tokens": True}, "max_output_tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_what_would_get_a_wrong_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """The field is named, also where it is only of the wrong type; and so it is at every provider that must translate."""
    with pytest.raises(BadBody) as refused:
        read(**fields)
    assert refused.value.param == param
    assert param.split("[", maxsplit=1)[0].split(".", maxsplit=1)[0] in refused.value.message
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
    for adaptor in (Anthropic(), DEEPSEEK):
        with pytest.raises(BadBody):
            adaptor.request(call(body), ACCOUNT, "m")


# ---- Repeated


def test_an_answer_repeats_its_request() -> None:
    """What was said as it was said, the rest as the API has it; but nothing is stored."""
    body = {
        "model": "m",
        "input": "x",
        "store": True,
        "tools": [WEATHER],
        "reasoning": {"effort": "low"},
        "metadata": None,
    }
    echo = responses_echo(json.dumps(body).encode())
    assert (echo["tools"], echo["reasoning"]) == ([WEATHER], {"effort": "low", "summary": None})
    assert (echo["store"], echo["metadata"], echo["truncation"]) == (False, {}, "disabled")
    assert echo["text"] == {"format": {"type": "text"}}
    assert "input" not in echo
    lenient = b'{"model":"m","input":"\\ud83d","temperature":NaN,"truncation":"auto"}'
    assert responses_echo(lenient)["truncation"] == "auto"


# ---- Written


def test_a_request_as_the_api_wants_it() -> None:
    """Nothing is stored, thoughts are asked for sealed, and a function is strict only if it was said to be."""
    turns = (
        Message("system", (Text("be brief"),)),
        Message("user", (Text("weather?"), Image(url=THERE))),
        Message("assistant", (
            Thinking("hm", hidden=SEALED, origin="openai_responses"), Thinking("not theirs", "sig", origin="x"),
            Text("Let me see."), ToolCall("c", "f", ""), Text("And?"),
        )),
        Message("system", (Text("aside"),)),
        Message("user", (ToolResult("c", (Text("sunny"), Text("warm"))), Text("thanks"))),
        Message("user", (ToolResult("c2", (Text("see"), Image("image/png", "AAAA"))),)),
    )  # fmt: skip
    request = ChatRequest("m", turns, tools=(Tool("f"),), tool_choice=ToolChoice("any"), max_tokens=99, logprobs=0)
    body, dropped = written(request)
    assert dropped == ()
    assert body == {
        "model": "m",
        "instructions": "be brief",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "weather?"}, {"type": "input_image", "image_url": THERE}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": SEALED},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "Let me see.", "annotations": []}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "And?", "annotations": []}]},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "aside"}]},
            {"type": "function_call_output", "call_id": "c", "output": "sunny\nwarm"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "thanks"}]},
            {"type": "function_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}],
        "tool_choice": "required",
        "max_output_tokens": 99,
        "store": False,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    }  # fmt: skip


USER = (Message("user", (Text("hi"),)),)
UNSAYABLE: list[tuple[ChatRequest, bool, tuple[str, ...]]] = [
    (ChatRequest("m", USER, seed=1, top_k=2, presence_penalty=0.5), True, ("top_k", "seed", "presence_penalty")),
    (ChatRequest("m", USER, max_tokens=1), True, ("max_tokens",)),
    (ChatRequest("m", USER, reasoning=Reasoning("low")), False, ("thinking",)),
    (ChatRequest("m", USER, reasoning=Reasoning("none")), False, ()),
    (ChatRequest("m", USER, openai={"metadata": {"a": "b"}, "verbosity": "low", "store": True}), True, ()),
]


@pytest.mark.parametrize(("request_", "reasons", "dropped"), UNSAYABLE)
def test_what_the_api_cannot_be_told_is_named(request_: ChatRequest, reasons: bool, dropped: tuple[str, ...]) -> None:  # noqa: FBT001 - a column of the table
    """A model that does not reason is not asked for its thoughts."""
    body, named = written(request_, reasons=reasons)
    assert named == dropped
    assert ("include" in body) is reasons
    assert body["store"] is False
    assert body.get("max_output_tokens") in {None, 16}


@pytest.mark.parametrize(("fields", "param"), [({"stop": ("x",)}, "stop"), ({"candidates": 2}, "n")])
def test_what_would_be_wrong_without_is_refused(fields: dict[str, Any], param: str) -> None:
    """The API has no stop sequences, and one answer."""
    with pytest.raises(BadBody) as refused:
        written(ChatRequest("m", USER, **fields))
    assert refused.value.param == param


def test_a_providers_unknown_fields_are_left_out() -> None:
    """Of those that OpenAI alone knows a compatible server may make a 400."""
    request = ChatRequest("m", USER, openai={"metadata": {"a": "b"}, "verbosity": "low"})
    body, dropped = write_responses_request(request, "m", origin="", reasons=True, shared_fields=frozenset())
    assert dropped == ("metadata", "verbosity")
    assert not {"metadata", "text"} & set(body)


BUDGETS = [
    (Reasoning("high"), "high", None),
    (Reasoning(budget=2000), "low", None),
    (Reasoning("low", shown=True), "low", "auto"),
]


@pytest.mark.parametrize(("reasoning_", "effort", "summary"), BUDGETS)
def test_how_much_to_think(reasoning_: Reasoning, effort: str, summary: str | None) -> None:
    """A budget becomes a word; a summary is asked for only for who wants to see one."""
    said = written(ChatRequest("m", USER, reasoning=reasoning_))[0]["reasoning"]
    assert said == {"effort": effort} | ({} if summary is None else {"summary": summary})


# ---- There and back again

OBJECTS = st.dictionaries(NAMES, st.booleans() | st.integers(-99, 99) | WORDS, max_size=3)
CALLS = st.builds(ToolCall, NAMES, NAMES, OBJECTS.map(lambda value: encoded(value).decode()))
RESULTS = st.builds(ToolResult, NAMES, st.tuples(TEXTS))
REQUESTS_USER = st.tuples(st.lists(RESULTS, max_size=2), st.lists(TEXTS | IMAGES, min_size=1, max_size=3))
MODEL = st.tuples(st.lists(TEXTS, min_size=1, max_size=1), st.lists(CALLS, max_size=3))


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Build a request that chat, messages and Responses can all say."""
    messages = [Message("system", (draw(TEXTS),))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        results, content = draw(REQUESTS_USER)
        messages.append(Message("user", (*results, *content)))
        said, calls = draw(MODEL)
        messages.append(Message("assistant", (*said, *calls)))
    messages.append(Message("user", (draw(TEXTS),)))
    tools = tuple(
        draw(
            st.lists(
                st.builds(Tool, NAMES, WORDS, SCHEMAS, st.sampled_from([True, None])),
                max_size=2,
                unique_by=lambda tool: tool.name,
            )
        )
    )
    return ChatRequest(
        "m",
        tuple(messages),
        tools=tools,
        tool_choice=draw(st.sampled_from([None, ToolChoice("any"), ToolChoice("one", "f")])) if tools else None,
        max_tokens=draw(st.integers(16, 99_999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        output=draw(st.none() | st.builds(OutputFormat, SCHEMAS, st.just("answer"))),
        user=draw(st.none() | WORDS),
        stream=draw(st.booleans()),
    )


def normal(request: ChatRequest) -> ChatRequest:
    """Return the request with results apart from words, consecutive turns of a role as one, and False for no strictness."""
    messages: list[Message] = []
    for turn in request.messages:
        if messages and messages[-1].role == turn.role:
            turn = Message(turn.role, messages.pop().parts + turn.parts)  # noqa: PLW2901 - the two are one
        messages.append(turn)
    tools = tuple(msgspec.structs.replace(tool, strict=tool.strict or None) for tool in request.tools)
    output = None if request.output is None else OutputFormat(request.output.schema, "answer")
    return msgspec.structs.replace(request, messages=tuple(messages), tools=tools, output=output)


def through_responses(request: ChatRequest) -> ChatRequest:
    body, dropped = written(request)
    assert dropped == ()
    return normal(read_responses_request(encoded(body)))


def through_chat(request: ChatRequest) -> ChatRequest:
    options = Options(limit_field="max_tokens", takes_effort=True, replays_reasoning=False)
    body, dropped = write_chat_request(request, "m", options)
    assert dropped == ()
    return normal(read_chat_request(encoded(body)))


def through_messages(request: ChatRequest) -> ChatRequest:
    body, dropped = write_messages_request(request, "m")
    assert dropped == ()
    return normal(read_messages_request(encoded(body)))


@given(requests())
def test_what_the_formats_can_say_survives_every_round_trip(request_: ChatRequest) -> None:
    """Responses to chat and back, Responses to messages and back."""
    asked = through_responses(request_)
    assert asked == normal(request_)
    assert through_responses(through_chat(asked)) == asked
    assert through_responses(through_messages(asked)) == asked


SHARED = {
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "verbosity": "low",
}


def test_what_openais_formats_alone_can_say_survives_between_them() -> None:
    """There and back; others name it."""
    options = Options(
        limit_field="max_tokens", takes_effort=True, replays_reasoning=False, shared_fields=frozenset(SHARED_FIELDS)
    )
    request = ChatRequest("m", USER, logprobs=3, user="s", openai=SHARED, reasoning=Reasoning("low"))
    body, dropped = write_chat_request(request, "m", options)
    assert dropped == ()
    there = read_chat_request(encoded(body))
    assert there == request
    assert read_responses_request(encoded(written(there)[0])) == request
    sent = Anthropic().request(
        call(json.dumps({"model": "m", "input": "x", "metadata": {"a": "b"}, "text": {"verbosity": "low"}}).encode()),
        ACCOUNT,
        "m",
    )
    assert set(sent.dropped) == {"metadata", "verbosity"}


# ---- The channel says by which API

SAID = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "x"}]}).encode()
SAID_TO_CLAUDE = json.dumps(
    {"model": "gpt-5", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}]}
).encode()


def test_a_channel_may_have_all_asked_by_the_responses_api() -> None:
    """Chat and messages are translated, Responses and all else pass; of the model that reasons its thoughts are wanted."""
    for came in (chat_call(body=SAID), messages_call(body=SAID_TO_CLAUDE)):
        request = OPENAI.request(came, BY_RESPONSES, "gpt-5")
        assert request.url == "https://api.example/responses"
        assert json.loads(request.body or b"")["include"] == ["reasoning.encrypted_content"]
    body = b'{"model":"m","prompt":"x"}'
    assert OPENAI.request(chat_call(b"/completions", body), BY_RESPONSES, "m").url == "https://api.example/completions"
    assert OPENAI.request(call(), BY_RESPONSES, "m").body == call().body
    assert OPENAI.request(chat_call(body=SAID), ACCOUNT, "gpt-5").url == "https://api.example/chat/completions"


def test_a_channel_may_have_all_asked_by_chat() -> None:
    """A server may speak both, and one of them badly."""
    request = OPENAI.request(call(), BY_CHAT, "m")
    assert request.url == "https://api.example/chat/completions"
    assert json.loads(request.body or b"")["messages"] == [{"role": "user", "content": "hi"}]


def test_each_provider_seals_for_itself() -> None:
    """A thought of OpenAI's is none to Azure, which would answer 400 to it; whoever gave it gets it back."""
    answer = OPENAI.answer(chat_call(body=SAID, stream=False), BY_RESPONSES, "gpt-5", 1 << 20)
    output = [reasoning("hm", sealed=SEALED), function_call(1, "f", "{}")]
    told = json.loads(
        answer.whole(json.dumps({"object": "response", "status": "completed", "output": output}).encode())
    )
    assistant = told["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": assistant["tool_calls"][0]["id"], "content": "x"}
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "x"}, assistant, result]}).encode()
    for adaptor, kinds in [
        (OPENAI, ["message", "reasoning", "function_call"]),
        (Azure(), ["message", "function_call"]),
    ]:
        sent = json.loads(adaptor.request(chat_call(body=body), BY_RESPONSES, "gpt-5").body or b"")
        assert [item["type"] for item in sent["input"]] == [*kinds, "function_call_output"]


def test_azure_is_asked_at_its_own_address() -> None:
    """By the v1 API and by the dated one."""
    for version, url in [
        ("", "/openai/v1/responses"),
        ("2025-04-01-preview", "/openai/responses?api-version=2025-04-01-preview"),
    ]:
        options = {"api": "responses"} | ({"api_version": version} if version else {})
        account = ProviderAccount("https://n.openai.azure.com", "k", options=options)
        assert Azure().request(chat_call(body=SAID), account, "gpt-5").url == f"https://n.openai.azure.com{url}"


def test_thoughts_of_others_do_not_reach_openai() -> None:
    """A conversation that was had elsewhere goes on there: it would answer 400 to a seal that is not its own."""
    body = {"model": "m", "input": [SEALED_ITEM, reasoning("own", sealed=SEALED),
                                    {**function_call(1, "f", "{}"), "call_id": CARRYING}]}  # fmt: skip
    sent = json.loads(OPENAI.request(call(json.dumps(body).encode()), ACCOUNT, "m").body or b"")
    assert sent["input"] == [reasoning("own", sealed=SEALED), function_call(1, "f", "{}")]
