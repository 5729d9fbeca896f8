"""A request keeps its meaning from one format to another and back; what cannot be said is named or refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic_streams import call as messages_call
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import call as chat_call

from adaptors.anthropic import Anthropic
from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.jsonbytes import encoded
from adaptors.translation.carrier import packed, unpacked, without_thoughts
from adaptors.translation.chat_request import SHARED_FIELDS, Options, read_chat_request, write_chat_request
from adaptors.translation.claude_models import claude
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
from adaptors.translation.messages_request import read_messages_request, write_messages_request
from adaptors.values import ProviderAccount

OPENAI = next(row for row in COMPATIBLE if row.name == "openai")
OPTIONS = Options(
    limit_field="max_completion_tokens",
    takes_effort=True,
    replays_reasoning=False,
    takes_marks=True,
    shared_fields=SHARED_FIELDS,
)
ACCOUNT = ProviderAccount("https://api.example", "k")

# ---- Round trips

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: text.strip() == text)
NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,10}", fullmatch=True)
OBJECTS = st.dictionaries(
    NAMES, st.one_of(st.booleans(), st.integers(-99, 99), WORDS, st.lists(WORDS, max_size=2)), max_size=3
)
SCHEMAS = st.fixed_dictionaries({"type": st.just("object"), "properties": OBJECTS})
MARKS = st.sampled_from([None, None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
TEXTS = st.builds(Text, WORDS)
MARKED_TEXTS = st.builds(Text, WORDS, cache=MARKS)
IMAGES = st.one_of(
    st.builds(Image, st.just("image/png"), st.just("iVBORw0KGgo=")),
    st.builds(Image, url=st.just("https://example.com/cat.png")),
)
MARKED_IMAGES = st.builds(lambda image, mark: msgspec.structs.replace(image, cache=mark), IMAGES, MARKS)
FILES = st.builds(Document, st.just("application/pdf"), st.just("JVBERi0="), title=NAMES, cache=MARKS)
CALLS = st.builds(ToolCall, NAMES, NAMES, OBJECTS.map(lambda value: encoded(value).decode()))
RESULTS = st.builds(ToolResult, NAMES, st.tuples(TEXTS), cache=MARKS)
USER = st.tuples(st.lists(RESULTS, max_size=2), st.lists(MARKED_TEXTS | MARKED_IMAGES | FILES, min_size=1, max_size=3))
ASSISTANT = st.tuples(st.lists(MARKED_TEXTS, min_size=1, max_size=1), st.lists(CALLS, max_size=3))


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Draw a request that both formats can say."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message("system", (draw(MARKED_TEXTS),)))
    for _ in range(draw(st.integers(1, 3))):
        results, shown = draw(USER)
        messages.append(Message("user", (*results, *shown)))
        words, calls = draw(ASSISTANT)
        messages.append(Message("assistant", (*words, *calls)))
    tools = tuple(draw(st.lists(st.builds(Tool, NAMES, WORDS, SCHEMAS, cache=MARKS), max_size=2)))
    choices = [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("any"), ToolChoice("one", "x")]
    choice = draw(st.sampled_from(choices)) if tools else None
    return ChatRequest(
        model="m",
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,
        parallel=draw(st.sampled_from([None, False])) if choice and choice.mode != "none" else None,
        max_tokens=draw(st.integers(1, 99_999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        output=draw(st.none() | st.builds(OutputFormat, SCHEMAS, st.just("answer"))),
        user=draw(st.none() | WORDS),
        stream=draw(st.booleans()),
        openai={"service_tier": tier} if (tier := draw(st.sampled_from(["", "auto", "default"]))) else {},
    )


@st.composite
def chat_requests(draw: st.DrawFn) -> ChatRequest:
    """Draw a request that says what only chat can."""
    return msgspec.structs.replace(
        draw(requests()),
        seed=draw(st.none() | st.integers(0, 2**31)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        candidates=draw(st.integers(1, 128)),
        logprobs=draw(st.none() | st.integers(0, 20)),
        openai=draw(st.dictionaries(st.sampled_from(sorted(SHARED_FIELDS - {"safety_identifier"})), WORDS)),
    )


def normal(request: ChatRequest) -> ChatRequest:
    """Return the request with consecutive turns of one role as one, and without the name that one format lacks."""
    messages: list[Message] = []
    for message in request.messages:
        if messages and messages[-1].role == message.role:
            message = Message(message.role, messages.pop().parts + message.parts)  # noqa: PLW2901 - the two are one
        messages.append(message)
    output = None if request.output is None else OutputFormat(request.output.schema, "answer")
    return msgspec.structs.replace(request, messages=tuple(messages), output=output)


def through_chat(request: ChatRequest) -> ChatRequest:
    body, dropped = write_chat_request(request, request.model, OPTIONS)
    assert dropped == ()
    return normal(read_chat_request(encoded(body)))


def through_messages(request: ChatRequest) -> ChatRequest:
    body, dropped = write_messages_request(request, request.model)
    assert dropped == ()
    return normal(read_messages_request(encoded(body)))


@given(requests())
def test_what_both_formats_can_say_survives_every_round_trip(request: ChatRequest) -> None:
    """Through one, through the other, and there and back again."""
    assert through_chat(request) == normal(request)
    assert through_messages(request) == normal(request)
    assert through_messages(through_chat(through_messages(request))) == normal(request)


@given(chat_requests())
def test_what_chat_can_say_survives_it(request: ChatRequest) -> None:
    """Candidates, likelihoods, seeds, penalties and OpenAI's own fields."""
    assert through_chat(request) == normal(request)


THOUGHTS = st.lists(
    st.builds(Thinking, st.text(st.characters(codec="utf-8")), NAMES, st.just(""), st.just("w")), min_size=1
)


@given(NAMES, THOUGHTS)
def test_an_id_carries_thoughts_and_gives_them_back(call_id: str, thoughts: list[Thinking]) -> None:
    """In letters that an id may have; and in a body they are taken out again."""
    carrying = packed(call_id, thoughts)
    assert unpacked(carrying) == (call_id, tuple(thoughts))
    body = json.dumps({"id": carrying, "content": "__rt1 "}).encode()
    assert json.loads(without_thoughts(body)) == {"id": call_id, "content": "__rt1 "}


@pytest.mark.parametrize("broken", ["c__rt1_", "c__rt1_A", "c__rt1_AAAA", "c__rt1_W10", "c__rt1_bm8"])
def test_a_broken_carrier_holds_nothing(broken: str) -> None:
    """A client may cut an id; its own part counts."""
    assert unpacked(broken) == ("c", ())


def test_a_thought_that_nobody_signed_stays_at_home() -> None:
    """Then an id stays as it was."""
    assert packed("c", [Thinking("hm")]) == "c"


# ---- What is left out, and what is refused


def sent_to_anthropic(model: str = "claude-sonnet-4-5", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    body = json.dumps({"model": model, "messages": messages, **fields}).encode()
    request = Anthropic().request(chat_call(body=body), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


def sent_to_openai(model: str = "gpt-5", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    body = json.dumps({"model": model, "max_tokens": 9, "messages": messages, **fields}).encode()
    request = OPENAI.request(messages_call(body=body), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


CHAT_DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({}, ()),
    ({"seed": 7, "presence_penalty": 0.5, "logit_bias": {"1": 2}}, ("logit_bias", "seed", "presence_penalty")),
    ({"seed": None, "metadata": {}, "store": True, "logprobs": False, "n": 1, "modalities": ["text"]}, ()),
    ({"temperature": 1.2}, ("temperature",)),
    ({"stop": [" ", "x"]}, ("stop",)),
    ({"response_format": {"type": "json_object"}}, ("response_format",)),
    ({"reasoning_effort": "low", "temperature": 0.1}, ("temperature",)),
    ({"reasoning_effort": "low", "max_tokens": 1000}, ("reasoning_effort",)),
    ({"something_new": 1}, ("something_new",)),
]


@pytest.mark.parametrize(("fields", "dropped"), CHAT_DROPPED)
def test_what_anthropic_cannot_be_told_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """The answer is right without it."""
    assert sent_to_anthropic(**fields)[1] == dropped


CHAT_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"functions": [{}]}, "functions"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"web_search_options": {"a": 1}}, "web_search_options"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"messages": [{"role": "user", "content": [{"type": "input_video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
     "messages[0].content[0].file.file_id"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": {}}, "messages"),
    ({"messages": [7]}, "messages[0]"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": True}, "max_tokens"),
    ({"stop": [1]}, "stop[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), CHAT_REFUSED)
def test_a_chat_request_that_would_get_a_wrong_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """The field is named, also where it is only of the wrong type."""
    with pytest.raises(BadBody) as refused:
        sent_to_anthropic(**fields)
    assert refused.value.param == param
    assert param.split("[", maxsplit=1)[0].split(".", maxsplit=1)[0] in refused.value.message


MESSAGES_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"stop_sequences": list("abcde")}, "stop_sequences"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
     "messages[0].content[0].source.type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"max_tokens": None}, "max_tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), MESSAGES_REFUSED)
def test_a_message_that_would_get_a_wrong_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """The field is named."""
    with pytest.raises(BadBody) as refused:
        sent_to_openai(**fields)
    assert refused.value.param == param


def test_what_openai_cannot_be_told_is_named() -> None:
    """top_k, cache control, and thinking where the model takes no effort."""
    cached = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    sent, dropped = sent_to_openai(top_k=5, system=cached, service_tier="auto")
    assert dropped == ("top_k", "cache_control")
    assert sent["service_tier"] == "auto"
    assert sent["messages"][0] == {"role": "system", "content": "s"}
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert sent_to_openai("gpt-4o", thinking=thinking)[1] == ("thinking",)


THINKING_BUDGETS = [(1024, "low"), (4095, "low"), (4096, "medium"), (16_383, "medium"), (16_384, "high")]


@pytest.mark.parametrize(("budget", "effort"), THINKING_BUDGETS)
def test_a_budget_becomes_an_effort(budget: int, effort: str) -> None:
    """By its size."""
    sent, _ = sent_to_openai(thinking={"type": "enabled", "budget_tokens": budget})
    assert sent["reasoning_effort"] == effort


EFFORTS: list[tuple[str, str, dict[str, Any]]] = [
    ("claude-sonnet-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ("claude-3-7-sonnet-20250219", "high", {"thinking": {"type": "enabled", "budget_tokens": 24_000}}),
    ("claude-opus-4-20250514", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-opus-4-7", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
    ("claude-next", "medium", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
    ("claude-sonnet-4-5", "none", {}),
]


@pytest.mark.parametrize(("model", "effort", "said"), EFFORTS)
def test_an_effort_becomes_a_budget_or_an_effort(model: str, effort: str, said: dict[str, Any]) -> None:
    """As the model takes it."""
    sent, _ = sent_to_anthropic(model, reasoning_effort=effort)
    assert {name: sent[name] for name in ("thinking", "output_config") if name in sent} == said


def test_no_thinking_where_the_api_would_refuse_it() -> None:
    """With a forced tool, or with a call whose thought is lost."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    sent, dropped = sent_to_anthropic(reasoning_effort="low", tools=tools, tool_choice="required")
    assert "thinking" not in sent
    assert dropped == ("reasoning_effort",)
    called = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}
    turns = [{"role": "user", "content": "x"}, called, {"role": "tool", "tool_call_id": "c", "content": "y"}]
    sent, dropped = sent_to_anthropic(reasoning_effort="low", messages=turns, tools=tools)
    assert "thinking" not in sent
    assert dropped == ("reasoning_effort",)


def test_turns_are_put_as_anthropic_wants_them() -> None:
    """System texts from anywhere in order, turns of one role as one, results first, nothing empty, no space at the end."""
    called = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "no json"}},
    ]}  # fmt: skip
    turns = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": ""},
        called,
        {"role": "tool", "tool_call_id": "c1", "content": "r1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "r2"}]},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "so "},
    ]
    sent, _ = sent_to_anthropic(messages=turns)
    assert sent["system"] == "one\n\ntwo"
    user, assistant, results, prefill = sent["messages"]
    assert user["content"] == [{"type": "text", "text": "a"}]
    assert [block["input"] for block in assistant["content"]] == [{}, {"_raw": "no json"}]
    assert [block["type"] for block in results["content"]] == ["tool_result", "tool_result", "text"]
    assert prefill["content"] == [{"type": "text", "text": "so"}]


def test_a_result_that_comes_late_is_put_first() -> None:
    """Words between a call and its result stand behind it: the API wants results first in their turn."""
    called = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}
    late = {"role": "tool", "tool_call_id": "c", "content": "r"}
    sent, _ = sent_to_anthropic(
        messages=[{"role": "user", "content": "a"}, called, {"role": "user", "content": "b"}, late]
    )
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "text"]


def test_pictures_in_a_result_are_shown_by_the_user() -> None:
    """OpenAI's results are words alone."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "see"}, picture]}
    sent, _ = sent_to_openai(messages=[{"role": "user", "content": [result, {"type": "text", "text": "so?"}]}])
    tool, user = sent["messages"]
    assert tool == {"role": "tool", "tool_call_id": "c", "content": "see"}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]


def test_files_go_both_ways() -> None:
    """A PDF with its name; a text is text."""
    document = {"type": "document", "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}  # fmt: skip
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    sent, _ = sent_to_openai(messages=[{"role": "user", "content": [document, plain]}])
    file, words = sent["messages"][0]["content"]
    assert file["file"] == {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}
    assert words == {"type": "text", "text": "words"}
    back, _ = sent_to_anthropic(messages=sent["messages"])
    assert back["messages"][0]["content"][0] == document


def test_max_tokens_has_a_default_that_each_model_takes() -> None:
    """It must be said."""
    assert (claude("claude-3-haiku-20240307").limit, claude("claude-3-5-sonnet-latest").limit) == (4096, 8192)
    assert claude("claude-opus-4-1").limit == 32_000


def test_a_provider_that_reads_the_old_name_of_the_limit_gets_it() -> None:
    """OpenAI's own models refuse it, most others know no other."""
    groq = next(row for row in COMPATIBLE if row.name == "groq")
    body = groq.request(messages_call(), ACCOUNT, "m").body
    assert json.loads(body or b"")["max_tokens"] == 9


def test_thoughts_go_back_to_providers_that_want_them() -> None:
    """As reasoning_content; to others they do not go."""
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "y"}]}]  # fmt: skip
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode()
    for row in COMPATIBLE:
        sent = json.loads(row.request(messages_call(body=body), ACCOUNT, "m").body or b"")
        assert ("reasoning_content" in sent["messages"][1]) == (row.name in {"deepseek", "moonshot"})


def test_ids_that_carry_thoughts_reach_no_provider() -> None:
    """Also where a conversation goes on at a provider of the client's own format."""
    body = b'{"model":"m","messages":[{"role":"tool","tool_call_id":"call_1__rt1_W10","content":"x"}]}'
    assert b"__rt1_" not in (OPENAI.request(chat_call(body=body), ACCOUNT, "m").body or b"")
