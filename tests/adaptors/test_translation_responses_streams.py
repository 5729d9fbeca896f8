"""Streams and answers of the Responses API come out in other formats and out of them, event by event, with a proven end."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from anthropic_streams import BASIC, THINKING, TOOLS
from anthropic_streams import STREAMS as MESSAGES_STREAMS
from anthropic_streams import call as messages_call
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openai_streams import LIMIT, passed_and_failure, read, sdk_client, split_everywhere
from openai_streams import chunk as chat_chunk
from openai_streams import sse as chat_sse
from pydantic import TypeAdapter
from responses_streams import (
    BOSTON,
    RESPONSE,
    SEALED,
    STREAMS,
    USAGE,
    call,
    call_done,
    call_opened,
    delta,
    ended,
    function_call,
    item_events,
    message,
    opened,
    reasoning,
    sse,
    words,
)
from test_translation_streams import CHAT_STREAMS, assembled, blocks_of, events_of

from adaptors.anthropic import Anthropic
from adaptors.bodies import BadBody
from adaptors.failure import AnswerFailed, FailureKind
from adaptors.sse import SSEParser
from adaptors.translation.answer import TranslatedAnswer
from adaptors.translation.carrier import packed, sealed, unpacked
from adaptors.translation.conversation import (
    Candidate,
    CandidateSwitched,
    Citation,
    Cited,
    Counted,
    Ended,
    Event,
    Finished,
    LogprobsDelta,
    Reason,
    Refusal,
    Reply,
    Started,
    Text,
    TextDelta,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    ToolStarted,
)
from adaptors.translation.frame import Frame
from adaptors.translation.responses_answer import write_responses_reply
from adaptors.translation.responses_reader import ResponsesReader, read_responses_reply
from adaptors.translation.responses_request import read_responses_request, responses_echo
from adaptors.translation.responses_writer import ResponsesWriter
from adaptors.values import ProviderAccount, Usage

Events = list[dict[str, Any]]

ECHO = responses_echo(b'{"instructions":"be brief","tools":[]}')
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def to_responses(provider: str, limit: int = LIMIT) -> TranslatedAnswer:
    return TranslatedAnswer(provider, "openai_responses", Frame(limit, created=7, echo=ECHO))


def from_responses(client: str, **frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("openai_responses", client, Frame(LIMIT, created=7, **frame))


# ---- Written: the law of the stream


def items_of(stream: bytes) -> Events:
    """Return the items of a stream, holding it to the API's rules.

    Each event is one that the SDK knows, by its name and by its type, with the next number; each item is opened, filled by
    what names it, and closed once, at its own place; the parts of a message likewise; what the deltas tell is what the ends
    repeat; and the last event holds all items.
    """
    items: dict[int, dict[str, Any]] = {}
    done: dict[int, dict[str, Any]] = {}
    told: dict[tuple[int, int], str] = {}
    parts: dict[tuple[int, int], dict[str, Any]] = {}
    last: dict[str, Any] = {}
    for number, raw in enumerate(SSEParser(LIMIT).feed(stream)):
        event = json.loads(raw.data or b"")
        kind = event["type"]
        assert raw.name.decode() == kind
        assert event["sequence_number"] == number
        assert STREAM_EVENT.validate_python(event).type == kind
        last = event
        if kind == "response.output_item.added":
            assert event["output_index"] == len(items)
            items[event["output_index"]] = event["item"]
            continue
        if "output_index" not in event:
            continue
        place = event["output_index"], event.get("content_index", event.get("summary_index", 0))
        assert place[0] not in done
        if kind == "response.output_item.done":
            assert event["item"]["id"] == items[place[0]]["id"]
            done[place[0]] = event["item"]
            continue
        assert event["item_id"] == items[place[0]]["id"]
        if kind.endswith("part.added"):
            assert place not in parts
            parts[place] = event["part"]
        elif kind.endswith(".delta"):
            assert place in parts or items[place[0]]["type"] == "function_call"
            told[place] = told.get(place, "") + event["delta"]
        elif kind.endswith("part.done"):
            assert (event["part"].get("text") or event["part"].get("refusal") or "") == told.get(place, "")
        elif kind.endswith(".done"):
            assert (event.get("text") or event.get("arguments") or event.get("refusal") or "") == told.get(place, "")
    assert last["response"]["output"] == [done[at] for at in range(len(items))]
    Response.model_validate(last["response"])
    output: Events = last["response"]["output"]
    return output


def shown(items: Events) -> list[Any]:
    """Return what items say, shortly."""
    said: list[Any] = []
    for item in items:
        if item["type"] == "message":
            said.append("".join(part.get("text") or part["refusal"] for part in item["content"]))
        elif item["type"] == "reasoning":
            said.append(["".join(part["text"] for part in item["summary"]), "encrypted_content" in item])
        else:
            said.append((item["name"], item["arguments"]))
    return said


FROM_MESSAGES: dict[str, list[Any]] = {
    "basic": ["Hello!"],
    "tools": ["Okay, let's check:", ("get_weather", '{"location": "San Francisco, CA"}')],
    "thinking": [
        ["I need to find the GCD of 1071 and 462.\n1071 = 2 x 462 + 147", True],
        "The greatest common divisor is **21**.",
    ],
}
FROM_CHAT: dict[str, list[Any]] = {
    "words": ["Hello"],
    "words, then calls": ["Hm", ("a", '{"x":1}'), ("b", '{"y":2}')],
    "calls interleaved": [("a", '{"x":1}'), ("b", '{"y":2}'), ("c", "{}")],
    "calls without arguments": [("a", "{}"), ("b", "{}")],
    "whole calls in one chunk, all at index 0": [("a", '{"x":1}'), ("b", '{"y":2}')],
    "words between calls": [("a", '{"x":1}'), "and", ("b", "{}")],
    "thoughts": [["So.", False], "A"],
    "nothing": [],
}
WRITTEN = [
    *(("anthropic_messages", MESSAGES_STREAMS[name], said) for name, said in FROM_MESSAGES.items()),
    *(("openai_chat", chat_sse(*CHAT_STREAMS[name][0], "[DONE]"), said) for name, said in FROM_CHAT.items()),
]


@pytest.mark.parametrize(("provider", "stream", "said"), WRITTEN)
def test_a_stream_becomes_one_of_responses(provider: str, stream: bytes, said: list[Any]) -> None:
    """However it is cut, with the same bytes; each event has its number, each item its place."""
    whole = read(to_responses(provider), [stream])
    assert shown(items_of(whole)) == said
    for pieces in split_everywhere(stream):
        assert read(to_responses(provider), pieces) == whole


@pytest.mark.parametrize(("provider", "stream", "said"), WRITTEN)
def test_a_stream_that_is_cut_off_does_not_complete(provider: str, stream: bytes, said: list[Any]) -> None:  # noqa: ARG001 - a column of the table
    """Nothing is lost that came, success is not pretended, and the error that follows has the next number."""
    whole = read(to_responses(provider), [stream])
    proven = stream.rindex(b"}]}") + 3 if provider == "openai_chat" else stream.rindex(b"}")
    for at in range(1, proven):
        answer = to_responses(provider)
        passed, failed = passed_and_failure(answer, [stream[:at]])
        assert failed is not None
        assert failed.failure.kind is FailureKind.BROKEN_ANSWER
        assert whole.startswith(passed)
        assert b"response.completed" not in passed
        assert answer.sequence == passed.count(b"event: ")


@pytest.mark.parametrize(("provider", "stream", "said"), WRITTEN)
def test_the_official_client_reads_what_is_written(provider: str, stream: bytes, said: list[Any]) -> None:
    """Its accumulated response is the one that the last event holds."""
    with sdk_client(read(to_responses(provider), [stream])).responses.stream(model="m", input="x") as events:
        final = events.get_final_response()
    assert shown([item.model_dump(exclude_none=True) for item in final.output]) == said
    assert (final.status, final.instructions, final.error) == ("completed", "be brief", None)


def test_each_event_is_translated_at_once() -> None:
    """Nothing waits for the end; opening events bind to nothing."""
    answer = to_responses("anthropic_messages")
    for event in SSEParser(LIMIT).feed(BASIC):
        passed = b"".join(answer.chunks(event.raw))
        silent = {b"ping", b"content_block_start", b"content_block_stop"}
        assert bool(passed) == (event.name not in silent)
        if event.name in {b"message_start", b"content_block_start", b"ping"}:
            assert not answer.content_seen


def test_items_that_are_open_at_once_keep_their_places() -> None:
    """Calls whose arguments come in turns; each delta names its own."""
    stream = read(to_responses("openai_chat"), [chat_sse(*CHAT_STREAMS["calls interleaved"][0], "[DONE]")])
    deltas = [
        (event["output_index"], event["delta"])
        for event in events_of(stream)
        if event["type"] == "response.function_call_arguments.delta"
    ]
    assert deltas == [(1, '{"y"'), (0, '{"x":'), (1, ":2}"), (2, "{}"), (0, "1}")]


REASONS: list[tuple[Reason, str, str | None]] = [
    ("stop", "completed", None),
    ("tool", "completed", None),
    ("stop_sequence", "completed", None),
    ("length", "incomplete", "max_output_tokens"),
    ("filtered", "incomplete", "content_filter"),
    ("refused", "incomplete", "content_filter"),
]


def written(*events: Event, limit: int = LIMIT) -> bytes:
    writer = ResponsesWriter(Frame(limit, created=7, echo=ECHO))
    return b"".join(writer.write(event) for event in (Started("x", "m"), *events, Ended()))


@pytest.mark.parametrize(("reason", "status", "why"), REASONS)
def test_reasons_of_ending(reason: Reason, status: str, why: str | None) -> None:
    """Each has its last event; what broke off says so, whole and streamed alike."""
    events = events_of(written(TextDelta("a"), Finished(reason)))
    streamed = events[-1]["response"]
    assert events[-1]["type"] == f"response.{status}"
    whole = json.loads(write_responses_reply(Reply("x", "m", (Candidate((Text("a"),), reason),)), Frame(LIMIT)))
    for response in (streamed, whole):
        assert (response["status"], (response["incomplete_details"] or {}).get("reason")) == (status, why)
        assert response["output"][0]["status"] == status


def test_a_refusal_is_a_part_of_its_own() -> None:
    """With its own events; and it is a whole answer."""
    refused = [
        chat_chunk({"content": "Hm."}),
        chat_chunk({"refusal": "No"}),
        chat_chunk({"refusal": "."}),
        chat_chunk({}, "stop"),
    ]
    stream = read(to_responses("openai_chat"), [chat_sse(*refused, "[DONE]")])
    (item,) = items_of(stream)
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]
    assert item["content"][1]["refusal"] == "No."
    assert events_of(stream)[-1]["type"] == "response.completed"


def test_citations_and_likelihoods_have_their_places() -> None:
    """The words have left by then: an event of its own tells of them, and their end repeats it."""
    tokens = (TokenLogprob("a", -0.5, (("b", -1.0),)),)
    cited = Cited(Citation("https://x.y", "T", start=0, end=1))
    stream = written(
        TextDelta("a"), LogprobsDelta(tokens), cited, Cited(Citation(quote="no address")), Finished("stop")
    )
    (item,) = items_of(stream)
    (part,) = item["content"]
    assert part["annotations"] == [
        {"type": "url_citation", "url": "https://x.y", "title": "T", "start_index": 0, "end_index": 1}
    ]
    likely = {
        "token": "a",
        "bytes": [97],
        "logprob": -0.5,
        "top_logprobs": [{"token": "b", "bytes": [98], "logprob": -1.0}],
    }
    assert part["logprobs"] == [likely]
    added = [event for event in events_of(stream) if event["type"] == "response.output_text.annotation.added"]
    assert [(event["annotation_index"], event["content_index"]) for event in added] == [(0, 0)]


def test_there_is_one_candidate() -> None:
    """What a provider says of others is passed over."""
    other = (CandidateSwitched(1), TextDelta("b"), ToolStarted(0, "c", "f"), Finished("length"))
    items = items_of(written(TextDelta("a"), *other, CandidateSwitched(0), Finished("stop")))
    assert shown(items) == ["a"]
    assert items[0]["status"] == "completed"


def test_what_must_be_repeated_is_bounded() -> None:
    """A provider that never ends does not fill the memory."""
    with pytest.raises(AnswerFailed, match="too large"):
        written(*[TextDelta("x" * 100)] * 20, limit=1000)


def test_arguments_of_no_call_are_garbage() -> None:
    """They have no place."""
    with pytest.raises(AnswerFailed):
        written(ToolDelta(3, "{"))


def test_usage_is_told_at_the_end() -> None:
    """By OpenAI's rule."""
    stream = written(TextDelta("a"), Counted(Usage(37, 11, 5, 2)), Finished("stop"))
    usage = events_of(stream)[-1]["response"]["usage"]
    assert {**usage, "input_tokens_details": {"cached_tokens": 5}} == USAGE


# ---- Thoughts


def test_a_signed_thought_travels_in_its_item_and_in_its_call() -> None:
    """Whatever the client sends back, Anthropic gets the thought as it signed it."""
    at = TOOLS.index(b"event: content_block_start")
    start = THINKING.index(b"event: content_block_start")
    signed = THINKING[start : THINKING.index(b"event: content_block_start", start + 1)]
    *_, final = events_of(read(to_responses("anthropic_messages"), [TOOLS[:at] + signed + TOOLS[at:]]))
    items = final["response"]["output"]
    thought, _, called = items
    own, carried = unpacked(called["call_id"])
    assert own == "toolu_01T1x1fJ34qAmk2tNTrN7Up6"
    result = {"type": "function_call_output", "call_id": called["call_id"], "output": "15 degrees"}
    for kept in (items, [item for item in items if item is not thought]):
        body = json.dumps({"model": "m", "input": [{"role": "user", "content": "?"}, *kept, result]}).encode()
        sent = json.loads(Anthropic().request(call(body), ProviderAccount("https://x", "k"), "m").body or b"")
        assistant, user = sent["messages"][1:]
        assert [block["type"] for block in assistant["content"]] == ["thinking", "text", "tool_use"]
        assert assistant["content"][0]["thinking"] == carried[0].text
        assert assistant["content"][0]["signature"] == carried[0].signature
        assert assistant["content"][2]["id"] == user["content"][0]["tool_use_id"] == own


def test_a_hidden_thought_has_an_item_without_words() -> None:
    """It comes back as it was."""
    parts = (Thinking(hidden="SECRET", origin="anthropic_messages"), Text("a"))
    whole = json.loads(write_responses_reply(Reply("x", "m", (Candidate(parts, "stop"),)), Frame(LIMIT)))
    item, _ = whole["output"]
    assert item["summary"] == []
    body = json.dumps({"model": "m", "input": [item]}).encode()
    assert read_responses_request(body).messages[0].parts == parts[:1]


# ---- Read

ASSEMBLED: dict[str, dict[str, Any]] = {
    "words": {"content": "Hi! How can I assist you today?", "finish": "stop"},
    "thought, words": {"content": "Hello", "reasoning": "**Saying hello**\n\nThey greet.", "finish": "stop"},
    "thought, call": {
        "reasoning": "**Looking it up**",
        "calls": [("get_current_weather", BOSTON)],
        "finish": "tool_calls",
    },
    "calls interleaved": {"calls": [("a", '{"x":1}'), ("b", "{}")], "finish": "tool_calls"},
    "refusal": {"finish": "content_filter"},
    "too long": {"content": "Hi", "finish": "length"},
    "a web search": {"content": "As of today", "finish": "stop"},
}
NOTHING: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_responses_becomes_one_of_chat(name: str) -> None:
    """However it is cut, with the same bytes; events that nobody knows are passed over."""
    whole = read(from_responses("openai_chat"), [STREAMS[name]])
    told = assembled(whole)
    told["calls"] = [tuple(said[1:]) for said in told["calls"]]
    assert told == NOTHING | ASSEMBLED[name]
    assert whole.endswith(b"data: [DONE]\n\n")
    for pieces in split_everywhere(STREAMS[name]):
        assert read(from_responses("openai_chat"), pieces) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_responses_becomes_one_of_messages(name: str) -> None:
    """Block after block."""
    whole = read(from_responses("anthropic_messages"), [STREAMS[name]])
    blocks = blocks_of(whole)
    wanted = NOTHING | ASSEMBLED[name]
    said = "".join(text for kind, _, text in blocks if kind == "text")
    assert said == (wanted["content"] or ("I'm sorry, I cannot assist with that request." if name == "refusal" else ""))
    assert "".join(text for kind, _, text in blocks if kind == "thinking") == wanted["reasoning"]
    assert [(name, text) for kind, name, text in blocks if kind == "tool_use"] == wanted["calls"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_responses_that_is_cut_off_fails(name: str) -> None:
    """At every byte before its terminal event is whole."""
    stream = STREAMS[name]
    whole = read(from_responses("openai_chat"), [stream])
    for at in range(1, stream.rindex(b"}")):
        passed, failed = passed_and_failure(from_responses("openai_chat"), [stream[:at]])
        assert failed is not None
        assert failed.failure.kind is FailureKind.BROKEN_ANSWER
        assert whole.startswith(passed)
        assert b"[DONE]" not in passed


LIKELY = [
    {
        "token": "Hi",
        "bytes": [72, 105],
        "logprob": -0.25,
        "top_logprobs": [{"token": "Hey", "bytes": [72], "logprob": -1.5}],
    }
]
NOTE = {"type": "url_citation", "url": "https://x.y", "title": "T", "start_index": 0, "end_index": 2}


def test_sources_and_likelihoods_reach_a_client_of_chat() -> None:
    """Beside the words that they are of, as https://platform.openai.com/docs/guides/tools-web-search has them."""
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    stream = sse(
        *opened(),
        {"type": "response.output_item.added", "output_index": 0, "item": message("", "in_progress")},
        delta("output_text", "Hi", **where, logprobs=LIKELY),
        {"type": "response.output_text.annotation.added", **where, "annotation_index": 0, "annotation": NOTE},
        {"type": "response.output_item.done", "output_index": 0, "item": message("Hi")},
        ended("completed"),
    )
    choices = [
        choice for chunk in events_of(read(from_responses("openai_chat"), [stream])) for choice in chunk["choices"]
    ]
    told = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["content"]]
    assert [(token["token"], token["logprob"], token["top_logprobs"][0]["token"]) for token in told] == [
        ("Hi", -0.25, "Hey")
    ]
    (note,) = [note for choice in choices for note in choice["delta"].get("annotations", ())]
    assert note == {
        "type": "url_citation",
        "url_citation": {name: value for name, value in NOTE.items() if name != "type"},
    }


def test_usage_is_read() -> None:
    """By the one rule."""
    answer = from_responses("openai_chat")
    read(answer, [STREAMS["words"]])
    assert answer.usage == Usage(37, 11, 5, 2)


FAILURES: list[tuple[dict[str, Any], FailureKind, int]] = [
    (
        ended("failed", error={"code": "server_error", "message": "The model failed to generate a response."}),
        FailureKind.SERVER_ERROR,
        500,
    ),
    (ended("failed", error={"code": "rate_limit_exceeded", "message": "slow down"}), FailureKind.RATE_LIMITED, 429),
    (ended("failed"), FailureKind.BROKEN_ANSWER, 502),
    (
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
        FailureKind.RATE_LIMITED,
        429,
    ),
]


@pytest.mark.parametrize(("last", "kind", "status"), FAILURES)
def test_a_failure_keeps_its_meaning(last: dict[str, Any], kind: FailureKind, status: int) -> None:
    """As an event, or as the response that failed; what came before stays."""
    passed, failed = passed_and_failure(from_responses("openai_chat"), [sse(*opened(), *words("Hi"), last)])
    assert b"Hi" in passed
    assert failed is not None
    assert (failed.failure.kind, failed.failure.status) == (kind, status)


def test_what_was_not_told_in_deltas_is_told_at_the_end() -> None:
    """Servers of this API differ in what they stream."""
    stream = sse(
        *opened(),
        *item_events(0, reasoning("hm", sealed=SEALED)),
        *item_events(1, message("Hello")),
        *item_events(2, function_call(2, "a", "{}"), added=function_call(2, "a", "")),
        call_opened(3, "b"),
        *call_done(3, "b", '{"x":1}'),
        {"type": "response.output_item.done", "output_index": 4, "item": function_call(4, "c", "")},
        ended("completed"),
    )
    told = assembled(read(from_responses("openai_chat"), [stream]))
    assert (told["content"], told["reasoning"]) == ("Hello", "hm")
    assert [tuple(said[1:]) for said in told["calls"]] == [("a", "{}"), ("b", '{"x":1}'), ("c", "{}")]


def test_the_thoughts_of_openai_travel_with_a_clients_call() -> None:
    """In the id for a client of chat, in the signature for one of Anthropic's; and come back to it sealed."""
    kept = Thinking("**Looking it up**", hidden=SEALED, origin="openai_responses")
    (called,) = assembled(read(from_responses("openai_chat"), [STREAMS["thought, call"]]))["calls"]
    assert unpacked(called[0]) == ("call_12345xyz1", (kept,))
    signatures = [
        event["delta"]["signature"]
        for event in events_of(read(from_responses("anthropic_messages"), [STREAMS["thought, call"]]))
        if event.get("delta", {}).get("type") == "signature_delta"
    ]
    assert signatures == [sealed([Thinking("", hidden=SEALED, origin="openai_responses")])]


def test_a_conversation_goes_on_at_anthropic() -> None:
    """Without the thoughts that it did not sign, which it would answer 400 to; its own stay, and all else byte for byte."""
    foreign = {
        "type": "thinking",
        "thinking": "a",
        "signature": sealed([Thinking("", hidden=SEALED, origin="openai_responses")]),
    }
    unsigned = {"type": "thinking", "thinking": "b", "signature": ""}
    own = {"type": "thinking", "thinking": "c", "signature": "EqQB"}
    called = {"type": "tool_use", "id": "t", "name": "f", "input": {}}

    def sent(*blocks: dict[str, Any]) -> bytes | None:
        body = json.dumps({"model": "m", "messages": [{"role": "assistant", "content": list(blocks)}]}, indent=1)
        return Anthropic().request(messages_call(body=body.encode()), ProviderAccount("https://x", "k"), "m").body

    assert json.loads(sent(foreign, unsigned, own, called) or b"")["messages"][0]["content"] == [own, called]
    assert b"\n" in (sent(own, called) or b"")


def test_an_answer_has_so_many_items() -> None:
    """A provider cannot open them without end."""
    events = [call_opened(at, "a") for at in range(5000)]
    _, failed = passed_and_failure(from_responses("openai_chat"), [sse(*opened(), *events)])
    assert failed is not None
    assert "items" in failed.failure.message


# ---- Whole

ANSWER = {
    **RESPONSE,
    "status": "completed",
    "usage": USAGE,
    "output": [
        reasoning("**Looking it up**", sealed=SEALED),
        message("Let me see.", annotations=[{"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://x.y", "title": "T"}]),
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        function_call(1, "get_current_weather", BOSTON),
    ],
}  # fmt: skip


def test_a_whole_answer_is_read() -> None:
    """Each item as what it is."""
    reply = read_responses_reply(json.dumps(ANSWER).encode())
    assert reply == Reply(
        RESPONSE["id"],
        "gpt-4.1-2025-04-14",
        (
            Candidate(
                (
                    Thinking("**Looking it up**", hidden=SEALED, origin="openai_responses"),
                    Text("Let me see.", (Citation("https://x.y", "T", start=0, end=3),)),
                    ToolCall("call_12345xyz1", "get_current_weather", BOSTON),
                ),
                "tool",
            ),
        ),
        Usage(37, 11, 5, 2),
    )


def test_a_whole_answer_is_written() -> None:
    """As the SDK's types have it; with its request repeated."""
    parts = (Thinking("hm"), Text("a"), Refusal("b"), ToolCall("c", "f", ""))
    candidate = Candidate(parts, "tool", logprobs=(TokenLogprob("a", -0.5),))
    body = write_responses_reply(
        Reply("chatcmpl-1", "m", (candidate,), Usage(1, 2)), Frame(LIMIT, model="mine", created=7, echo=ECHO)
    )
    response = Response.model_validate_json(body)
    assert (response.id, response.model, response.created_at) == ("resp_chatcmpl-1", "mine", 7)
    assert (response.instructions, response.output_text) == ("be brief", "a")
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert json.loads(body)["output"][2]["arguments"] == "{}"
    assert response.usage is not None
    assert response.usage.total_tokens == 3


def test_the_same_in_both_ways_of_telling() -> None:
    """A stream's last event holds what the whole answer would."""
    events = ResponsesReader()
    told = [said for event in SSEParser(LIMIT).feed(STREAMS["thought, call"]) for said in events.read(event)]
    writer = ResponsesWriter(Frame(LIMIT))
    streamed = events_of(b"".join(writer.write(event) for event in told))[-1]["response"]
    response = {**RESPONSE, "status": "completed", "usage": USAGE}
    response["output"] = [
        reasoning("**Looking it up**", sealed=SEALED),
        function_call(1, "get_current_weather", BOSTON),
    ]
    whole = json.loads(write_responses_reply(read_responses_reply(json.dumps(response).encode()), Frame(LIMIT)))
    assert streamed == whole
    kept = Thinking("**Looking it up**", hidden=SEALED, origin="openai_responses")
    assert whole["output"][1]["call_id"] == packed("call_12345xyz1", [kept])


BROKEN: list[tuple[dict[str, Any], FailureKind]] = [
    (
        {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "no"}},
        FailureKind.SERVER_ERROR,
    ),
    ({"object": "response", "status": "cancelled"}, FailureKind.BROKEN_ANSWER),
    ({"object": "response", "status": "queued", "output": []}, FailureKind.BROKEN_ANSWER),
    ({"object": "chat.completion", "choices": []}, FailureKind.BROKEN_ANSWER),
    ({"error": {"message": "no", "code": "invalid_prompt"}}, FailureKind.BAD_REQUEST),
]


@pytest.mark.parametrize(("document", "kind"), BROKEN)
def test_what_is_no_answer_is_told_for_what_it_is(document: dict[str, Any], kind: FailureKind) -> None:
    """A 200 is not yet an answer."""
    with pytest.raises(AnswerFailed) as failed:
        read_responses_reply(json.dumps(document).encode())
    assert failed.value.failure.kind is kind


# ---- Whatever a provider sends

KINDS = [
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.annotation.added",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.delta",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "x",
]
KEYS = ["output_index", "content_index", "summary_index", "delta", "item", "response", "logprobs", "annotation", "token",
        "type", "id", "call_id", "name", "arguments", "summary", "content", "encrypted_content", "text", "refusal",
        "annotations", "status", "usage", "error", "output", "incomplete_details", "model", "logprob", "top_logprobs", "url"]  # fmt: skip
LEAVES = st.sampled_from(
    [None, True, 0, 1, -1, 10**30, 1.5, "", "x", "message", "reasoning", "function_call", "refusal"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
DOCUMENTS = st.builds(
    lambda kind, members: {**members, "type": kind},
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
)


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages", "gemini_generate"])
@given(st.lists(DOCUMENTS, max_size=8))
@settings(max_examples=60)
def test_no_stream_breaks_its_reader(client: str, documents: Events) -> None:
    """Members of any type, in any order: told, passed over, or told as a failure; nothing comes after an end."""
    stream = sse(opened()[0], *documents)
    passed_and_failure(from_responses(client), [stream])


WISHES = list(ResponseCreateParamsBase.__annotations__)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_no_body_breaks_its_reader(document: dict[str, Any]) -> None:
    """An answer, or a failure."""
    with contextlib.suppress(AnswerFailed):
        reply = read_responses_reply(json.dumps(document).encode())
        assert json.loads(write_responses_reply(reply, Frame(LIMIT)))


ITEMS = st.lists(st.dictionaries(st.sampled_from(["type", "role", *KEYS]), VALUES, max_size=4), max_size=3)


@given(st.dictionaries(st.sampled_from(WISHES), VALUES, max_size=8), ITEMS | VALUES)
def test_no_request_breaks_its_reader(document: dict[str, Any], items: Any) -> None:
    """A request, or a refusal that says why; what its answers repeat is JSON."""
    body = json.dumps({"model": "m", **document, "input": items}).encode()
    with contextlib.suppress(BadBody):
        read_responses_request(body)
    json.dumps(dict(responses_echo(body)))
