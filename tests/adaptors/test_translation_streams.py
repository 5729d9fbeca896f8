"""A stream of one format comes out in another, event by event, and its end is proven."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic_streams import BASIC, OVERLOADED, STREAMS, THINKING, TOOLS
from openai_streams import LIMIT, passed_and_failure, read, split_everywhere, sse
from openai_streams import chunk as chat_chunk

from adaptors.failure import FailureKind
from adaptors.sse import SSEParser
from adaptors.translation.answer import TranslatedAnswer
from adaptors.translation.carrier import unpacked
from adaptors.translation.frame import Frame
from adaptors.values import Usage

Events = list[dict[str, Any]]


def to_chat(**frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("anthropic_messages", "openai_chat", Frame(LIMIT, created=7, **frame))


def to_messages(limit: int = LIMIT, **frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("openai_chat", "anthropic_messages", Frame(limit, **frame))


def events_of(stream: bytes) -> Events:
    events = SSEParser(LIMIT).feed(stream)
    return [json.loads(event.data) for event in events if event.data not in {None, b"[DONE]"}]


# ---- From Anthropic's format to OpenAI's


def assembled(stream: bytes) -> dict[str, Any]:
    """Return the message that a client of chat streams puts together."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None}
    for chunk in events_of(stream):
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["calls"])
                message["calls"].append([call["id"], call["function"]["name"], ""])
            message["calls"][call["index"]][2] += call["function"]["arguments"]
        message["finish"] = choice["finish_reason"] or message["finish"]
    return message


ASSEMBLED: dict[str, Any] = {
    "basic": {"content": "Hello!", "reasoning": "", "calls": [], "finish": "stop"},
    "tools": {
        "content": "Okay, let's check:",
        "reasoning": "",
        "calls": [["toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", '{"location": "San Francisco, CA"}']],
        "finish": "tool_calls",
    },
    "thinking": {
        "content": "The greatest common divisor is **21**.",
        "reasoning": "I need to find the GCD of 1071 and 462.\n1071 = 2 x 462 + 147",
        "calls": [],
        "finish": "stop",
    },
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_anthropics_becomes_one_of_openais(name: str) -> None:
    """However it is cut, with the same bytes; its last words are [DONE]."""
    whole = read(to_chat(), [STREAMS[name]])
    assert assembled(whole) == ASSEMBLED[name]
    assert whole.endswith(b"data: [DONE]\n\n")
    for pieces in split_everywhere(STREAMS[name]):
        assert read(to_chat(), pieces) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_anthropics_that_is_cut_off_fails(name: str) -> None:
    """Nothing is lost that came, and success is not pretended."""
    stream = STREAMS[name]
    whole = read(to_chat(), [stream])
    for at in range(1, stream.rindex(b"}")):
        passed, failed = passed_and_failure(to_chat(), [stream[:at]])
        assert failed is not None
        assert failed.failure.kind is FailureKind.BROKEN_ANSWER
        assert whole.startswith(passed)
        assert b"[DONE]" not in passed


def test_each_event_is_translated_at_once() -> None:
    """Nothing waits for the end."""
    reader = to_chat()
    for event in SSEParser(LIMIT).feed(BASIC):
        passed = b"".join(reader.chunks(event.raw))
        assert bool(passed) == (event.name not in {b"ping", b"content_block_start", b"content_block_stop"})
        assert (
            reader.content_seen is (event.name not in {b"message_start", b"content_block_start", b"ping"})
            or passed == b""
        )


def test_opening_events_bind_to_nothing() -> None:
    """Until the first word another provider may still be tried."""
    reader = to_chat()
    opening = BASIC[: BASIC.index(b"event: content_block_delta")]
    assert assembled(b"".join(reader.chunks(opening)))["content"] == ""
    assert not reader.content_seen


def test_an_error_event_keeps_its_meaning() -> None:
    """529, as the provider means it."""
    passed, failed = passed_and_failure(
        to_chat(), [BASIC[:900] + BASIC[900:].partition(b"\n\n")[0] + b"\n\n" + OVERLOADED]
    )
    assert passed
    assert failed is not None
    assert (failed.failure.kind, failed.failure.status) == (FailureKind.OVERLOADED, 529)
    assert failed.failure.format == "anthropic"


def test_usage_comes_in_a_chunk_of_its_own_for_who_asked() -> None:
    """By OpenAI's rule: the prompt with what was cached."""
    cached = BASIC.replace(b'"input_tokens": 25', b'"input_tokens": 25, "cache_read_input_tokens": 100')
    reader = to_chat(include_usage=True)
    *chunks, counted = events_of(read(reader, [cached]))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert counted["choices"] == []
    assert (counted["usage"]["prompt_tokens"], counted["usage"]["total_tokens"]) == (125, 140)
    assert counted["usage"]["prompt_tokens_details"] == {"cached_tokens": 100}
    assert reader.usage == Usage(125, 15, 100)


def test_a_call_carries_the_thoughts_before_it() -> None:
    """In its id, since the client's format has no other place that comes back; hidden ones too."""
    hidden = b"""\
event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"SECRET"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

"""
    thought = THINKING[
        THINKING.index(b"event: content_block_start") : THINKING.index(b"event: content_block_start", 500)
    ]
    at = TOOLS.index(b'event: content_block_start\ndata: {"type":"content_block_start","index":1')
    (call,) = assembled(read(to_chat(), [TOOLS[:at] + thought + hidden + TOOLS[at:]]))["calls"]
    own, thoughts = unpacked(call[0])
    assert own == "toolu_01T1x1fJ34qAmk2tNTrN7Up6"
    assert [(told.signature[:8], told.hidden) for told in thoughts] == [("EqQBCgIY", ""), ("", "SECRET")]
    assert thoughts[0].text.startswith("I need to find")
    assert set(call[0]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """The provider sends no fragment at all then."""
    stream = TOOLS.replace(b'"{\\"location\\":"', b'""').replace(b'" \\"San Francisco, CA\\"}"', b'""')
    assert assembled(read(to_chat(), [stream]))["calls"][0][2] == "{}"


# ---- From OpenAI's format to Anthropic's


def blocks_of(stream: bytes) -> list[list[Any]]:
    """Return the blocks of a stream, holding it to the rule: one block at a time, counted upwards, all closed."""
    blocks: list[list[Any]] = []
    is_open = False
    for event in events_of(stream):
        kind = event["type"]
        if kind == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            block = event["content_block"]
            blocks.append([block["type"], block.get("name") or block.get("data"), ""])
            is_open = True
        elif kind == "content_block_delta":
            assert is_open
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            blocks[-1][2] += delta.get("text") or delta.get("partial_json") or delta.get("thinking") or ""
        elif kind == "content_block_stop":
            assert event["index"] == len(blocks) - 1
            is_open = False
        elif kind == "message_delta":
            assert not is_open
    return blocks


def call_delta(index: int, name: str = "", arguments: str = "") -> dict[str, Any]:
    named = {"id": f"call_{name}", "type": "function"} if name else {}
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return chat_chunk({"tool_calls": [{"index": index, **named, "function": function}]})


ROLE = chat_chunk({"role": "assistant", "content": None})
END = chat_chunk({}, "tool_calls")

# What providers write. The first two are OpenAI's own way (https://platform.openai.com/docs/guides/function-calling,
# "Streaming"): calls one after the other, each begun with its name and no arguments.
CHAT_STREAMS: dict[str, tuple[Events, list[list[Any]]]] = {
    "words": (
        [ROLE, chat_chunk({"content": "Hel"}), chat_chunk({"content": "lo"}), chat_chunk({}, "stop")],
        [["text", None, "Hello"]],
    ),
    "words, then calls": (
        [ROLE, chat_chunk({"content": "Hm"}), call_delta(0, "a"), call_delta(0, "", '{"x":'), call_delta(0, "", "1}"),
         call_delta(1, "b"), call_delta(1, "", '{"y":2}'), END],
        [["text", None, "Hm"], ["tool_use", "a", '{"x":1}'], ["tool_use", "b", '{"y":2}']],
    ),
    "calls interleaved": (
        [ROLE, call_delta(0, "a"), call_delta(1, "b"), call_delta(1, "", '{"y"'), call_delta(0, "", '{"x":'),
         call_delta(1, "", ":2}"), call_delta(2, "c", "{}"), call_delta(0, "", "1}"), END],
        [["tool_use", "a", '{"x":1}'], ["tool_use", "b", '{"y":2}'], ["tool_use", "c", "{}"]],
    ),
    "calls without arguments": (
        [ROLE, call_delta(0, "a"), call_delta(1, "b"), END],
        [["tool_use", "a", ""], ["tool_use", "b", ""]],
    ),
    "whole calls in one chunk, all at index 0": (
        [ROLE, call_delta(0, "a", '{"x":1}'), call_delta(0, "b", '{"y":2}'), END],
        [["tool_use", "a", '{"x":1}'], ["tool_use", "b", '{"y":2}']],
    ),
    "words between calls": (
        [ROLE, call_delta(0, "a", '{"x":'), chat_chunk({"content": "and"}), call_delta(0, "", "1}"), call_delta(1, "b"), END],
        [["tool_use", "a", '{"x":1}'], ["text", None, "and"], ["tool_use", "b", ""]],
    ),
    "thoughts": (
        [ROLE, chat_chunk({"reasoning_content": "So"}), chat_chunk({"reasoning": "."}), chat_chunk({"content": "A"}),
         chat_chunk({}, "stop")],
        [["thinking", None, "So."], ["text", None, "A"]],
    ),
    "nothing": ([ROLE, chat_chunk({}, "stop")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_stream_of_openais_becomes_one_of_anthropics(name: str) -> None:
    """Block after block, however it is cut; what two calls write at once is put in order."""
    chunks, blocks = CHAT_STREAMS[name]
    stream = sse(*chunks, "[DONE]")
    whole = read(to_messages(), [stream])
    assert blocks_of(whole) == blocks
    kinds = [event["type"] for event in events_of(whole)]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    for pieces in split_everywhere(stream):
        assert read(to_messages(), pieces) == whole


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_stream_of_openais_that_is_cut_off_fails(name: str) -> None:
    """Before the finish_reason; after it a clean end is an end."""
    stream = sse(*CHAT_STREAMS[name][0], "[DONE]")
    whole = read(to_messages(), [stream])
    proven = stream.rindex(b"}]}") + 3
    for at in range(1, len(stream)):
        passed, failed = passed_and_failure(to_messages(), [stream[:at]])
        if at < proven:
            assert failed is not None
            assert b"message_stop" not in passed
            assert whole.startswith(passed)
        elif stream[proven:at].strip() in {b"", b"data: [DONE]"}:
            assert failed is None
            assert passed == whole


def test_the_estimate_of_the_input_is_corrected() -> None:
    """Anthropic's format tells it first, OpenAI's last."""
    usage = {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    stream = sse(ROLE, chat_chunk({"content": "a"}), chat_chunk({}, "stop"), {"choices": [], "usage": usage}, "[DONE]")
    reader = to_messages(input_estimate=12, model="mine")
    events = events_of(read(reader, [stream]))
    assert events[0]["message"]["usage"]["input_tokens"] == 12
    assert events[0]["message"]["model"] == "mine"
    counted = events[-2]["usage"]
    assert (counted["input_tokens"], counted["cache_read_input_tokens"], counted["output_tokens"]) == (15, 4, 10)
    assert reader.usage == Usage(19, 10, 4)


REASONS = [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")]


@pytest.mark.parametrize(("there", "here"), REASONS)
def test_reasons_of_ending(there: str, here: str) -> None:
    """Each has its word in the other format."""
    stream = sse(ROLE, chat_chunk({"content": "a"}), chat_chunk({}, there))
    assert events_of(read(to_messages(), [stream]))[-2]["delta"]["stop_reason"] == here


def test_a_refusal_is_one() -> None:
    """Its words come out, and the reason says what they are."""
    stream = sse(ROLE, chat_chunk({"refusal": "No."}), chat_chunk({}, "stop"), "[DONE]")
    whole = read(to_messages(), [stream])
    assert blocks_of(whole) == [["text", None, "No."]]
    assert events_of(whole)[-2]["delta"]["stop_reason"] == "refusal"


def test_what_waits_for_its_turn_is_bounded() -> None:
    """A provider that never ends the first call does not fill the memory."""
    waiting = [call_delta(1, "b"), *[call_delta(1, "", "x" * 100) for _ in range(20)]]
    passed, failed = passed_and_failure(
        to_messages(limit=1000), [sse(event) for event in [ROLE, call_delta(0, "a"), *waiting]]
    )
    assert b"message_start" in passed
    assert failed is not None
    assert "too large" in failed.failure.message
