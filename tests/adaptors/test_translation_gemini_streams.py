"""An answer of the Gemini API comes out in other formats, and theirs in its own, event by event; its end is proven."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import Any

import pytest
from anthropic_streams import STREAMS as MESSAGES
from gemini_streams import STREAMS, mutants
from gemini_streams import call as gemini_call
from google.genai import types
from openai_streams import LIMIT, passed_and_failure, read, split_everywhere, sse
from openai_streams import call as chat_call
from openai_streams import chunk as chat_chunk

from adaptors.failure import AnswerFailed, FailureKind
from adaptors.sse import SSEParser
from adaptors.translation.answer import TranslatedAnswer, frame_of
from adaptors.translation.carrier import unpacked, unsealed
from adaptors.translation.conversation import (
    Candidate,
    Citation,
    Event,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    ToolEnded,
    ToolStarted,
)
from adaptors.translation.frame import Frame
from adaptors.translation.gemini_answer import read_generate_reply
from adaptors.translation.gemini_writer import GenerateWriter, write_generate_reply
from adaptors.values import Usage

Events = list[dict[str, Any]]

# Streams as the API writes them, typed from https://ai.google.dev/gemini-api/docs/thinking ("Thought summaries"),
# .../thought-signatures ("Parallel function calling", and "text" for the signature of the last, empty part),
# .../google-search ("Understanding the grounding response") and https://ai.google.dev/api/generate-content.
_HEAD = '"usageMetadata": {"promptTokenCount": 10,"totalTokenCount": 10},"modelVersion": "gemini-3-flash","responseId": "r1"'


def stream_of(*candidates: str) -> bytes:
    events = (f'data: {{"candidates": [{candidate}],{_HEAD}}}\r\n\r\n' for candidate in candidates)
    return "".join(events).encode()


def part_of(part: str, more: str = "") -> str:
    return f'{{"content": {{"parts": [{part}],"role": "model"}},"index": 0{more}}}'


STOP = ',"finishReason": "STOP"'
GROUNDED = (
    STOP + ',"groundingMetadata": {"webSearchQueries": ["UEFA Euro 2024 winner"],"groundingChunks": ['
    '{"web": {"uri": "https://vertexaisearch.cloud.google.com/1","title": "aljazeera.com"}},'
    '{"web": {"uri": "https://vertexaisearch.cloud.google.com/2","title": "uefa.com"}}],"groundingSupports": ['
    '{"segment": {"startIndex": 0,"endIndex": 24,"text": "Spain won Euro 2024, yes"},"groundingChunkIndices": [0]}]}'
)
LIKELY = (
    STOP + ',"avgLogprobs": -0.2,"logprobsResult": {"topCandidates": [{"candidates": ['
    '{"token": "Yes","tokenId": 7,"logProbability": -0.1},{"token": "No","logProbability": -2.5}]}],'
    '"chosenCandidates": [{"token": "Yes","tokenId": 7,"logProbability": -0.1}]}'
)
MORE = {
    "thoughts": stream_of(
        part_of('{"text": "**Counting**\\n","thought": true}'),
        part_of('{"text": "r, r, r.","thought": true}'),
        part_of('{"text": "Three"}'),
        part_of('{"text": "","thoughtSignature": "U0lH"}', STOP),
    ),
    "parallel": stream_of(
        part_of('{"text": "I look","thought": true}'),
        part_of(
            '{"functionCall": {"name": "f","args": {"city": "Paris"},"id": "a1"},"thoughtSignature": "U0lHMQ=="},'
            '{"functionCall": {"name": "f","args": {"city": "London"}}}'
        ),
        part_of('{"text": ""}', STOP),
    ),
    "grounded": stream_of(part_of('{"text": "Spain won Euro 2024, yes"}'), part_of('{"text": "."}', GROUNDED)),
    "likely": stream_of(part_of('{"text": "Yes"}', LIKELY)),
    "drawn": stream_of(part_of('{"inlineData": {"mimeType": "image/png","data": "AAAA"}}', STOP)),
}
ALL = STREAMS | MORE


def to_chat(**frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("gemini_generate", "openai_chat", Frame(LIMIT, created=7, **frame))


def to_messages(**frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("gemini_generate", "anthropic_messages", Frame(LIMIT, **frame))


def from_chat(limit: int = LIMIT, **frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("openai_chat", "gemini_generate", Frame(limit, **frame))


def from_messages(**frame: Any) -> TranslatedAnswer:
    return TranslatedAnswer("anthropic_messages", "gemini_generate", Frame(LIMIT, **frame))


def events_of(stream: bytes) -> Events:
    events = SSEParser(LIMIT).feed(stream)
    return [json.loads(event.data) for event in events if event.data not in {None, b"[DONE]"}]


# ---- From the Gemini API


def chat_message(stream: bytes) -> dict[str, Any]:
    """Return what a client of chat streams puts together."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None}
    for chunk in events_of(stream):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    message["calls"].append([call["id"], call["function"]["name"], ""])
                message["calls"][call["index"]][2] += call["function"]["arguments"]
            message["finish"] = choice["finish_reason"] or message["finish"]
    message["calls"] = [[unpacked(ident)[0], name, arguments] for ident, name, arguments in message["calls"]]
    return message


IN_CHAT: dict[str, tuple[str, str, list[list[str]], str]] = {
    "text": ('Hello "finish"!', "", [], "stop"),
    "call": ("", "", [["call_mAitaLmkHPPlz7IPvtfUqQ5_0", "get_weather", '{"location":"Utrecht"}']], "tool_calls"),
    "blocked": ("", "", [], "content_filter"),
    "thoughts": ("Three", "**Counting**\nr, r, r.", [], "stop"),
    "parallel": (
        "",
        "I look",
        [["a1", "f", '{"city":"Paris"}'], ["call_r1_1", "f", '{"city":"London"}']],
        "tool_calls",
    ),
    "grounded": ("Spain won Euro 2024, yes.", "", [], "stop"),
    "likely": ("Yes", "", [], "stop"),
    "drawn": ("![image](data:image/png;base64,AAAA)", "", [], "stop"),
}


@pytest.mark.parametrize("name", ALL)
def test_a_stream_of_geminis_becomes_one_of_openais(name: str) -> None:
    """However it is cut, with the same bytes; its last words are [DONE]."""
    whole = read(to_chat(), [ALL[name]])
    assert tuple(chat_message(whole).values()) == IN_CHAT[name]
    assert whole.endswith(b"data: [DONE]\n\n")
    for pieces in split_everywhere(ALL[name]):
        assert read(to_chat(), pieces) == whole


IN_MESSAGES: dict[str, tuple[list[list[Any]], str]] = {
    "text": ([["text", 'Hello "finish"!']], "end_turn"),
    "call": ([["thinking", ""], ["get_weather", '{"location":"Utrecht"}']], "tool_use"),
    "blocked": ([], "refusal"),
    "thoughts": ([["thinking", "**Counting**\nr, r, r."], ["text", "Three"], ["thinking", ""]], "end_turn"),
    "parallel": ([["thinking", "I look"], ["f", '{"city":"Paris"}'], ["f", '{"city":"London"}']], "tool_use"),
    "grounded": ([["text", "Spain won Euro 2024, yes."]], "end_turn"),
    "likely": ([["text", "Yes"]], "end_turn"),
    "drawn": ([["text", "![image](data:image/png;base64,AAAA)"]], "end_turn"),
}


@pytest.mark.parametrize("name", ALL)
def test_a_stream_of_geminis_becomes_one_of_anthropics(name: str) -> None:
    """Block after block, however it is cut."""
    whole = read(to_messages(), [ALL[name]])
    blocks: list[list[Any]] = []
    for event in events_of(whole):
        if event["type"] == "content_block_start":
            block = event["content_block"]
            blocks.append([block.get("name") or block["type"], ""])
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            blocks[-1][1] += delta.get("text") or delta.get("partial_json") or delta.get("thinking") or ""
    start, *_, end, stop = events_of(whole)
    assert (blocks, end["delta"]["stop_reason"]) == IN_MESSAGES[name]
    assert stop["type"] == "message_stop"
    assert start["message"]["usage"]["input_tokens"] == {"call": 94, "blocked": 8}.get(name, 10)  # known from the start
    for pieces in split_everywhere(ALL[name]):
        assert read(to_messages(), pieces) == whole


@pytest.mark.parametrize("name", ALL)
def test_a_stream_of_geminis_that_is_cut_off_fails(name: str) -> None:
    """Nothing is lost that came, and success is not pretended: no event but a clean end is the last."""
    stream = ALL[name]
    whole = read(to_chat(), [stream])
    for at in range(1, len(stream.rstrip())):
        passed, failed = passed_and_failure(to_chat(), [stream[:at]])
        assert failed is not None
        assert failed.failure.kind is FailureKind.BROKEN_ANSWER
        assert whole.startswith(passed)
        assert b"[DONE]" not in passed


def test_each_event_is_translated_at_once() -> None:
    """Nothing waits for the end."""
    reader = to_chat()
    for event in SSEParser(LIMIT).feed(ALL["parallel"]):
        assert b"".join(reader.chunks(event.raw))


def test_a_signature_is_carried_by_its_call() -> None:
    """With what was thought before it; a parallel call without one carries none."""
    chunks = events_of(read(to_chat(), [ALL["parallel"]]))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    first, second = [call["id"] for delta in deltas for call in delta.get("tool_calls", ()) if "id" in call]
    assert unpacked(first) == ("a1", (Thinking("I look", "U0lHMQ==", origin="gemini_generate"),))
    assert second == "call_r1_1"
    signed = [event["delta"]["signature"] for event in events_of(read(to_messages(), [ALL["parallel"]]))
              if event.get("delta", {}).get("type") == "signature_delta"]  # fmt: skip
    assert [unsealed(one) for one in signed] == [(Thinking("", "U0lHMQ==", origin="gemini_generate"),)]


def test_usage_follows_the_rule_of_each_side() -> None:
    """Thoughts are output, what tools were told is input; the total is the provider's own."""
    reader = to_chat(include_usage=True)
    *_, counted = events_of(read(reader, [STREAMS["text"]]))
    assert counted["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 29,
        "total_tokens": 41,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 22},
    }
    assert reader.usage == Usage(12, 29, 3, 22)


REASONS = [
    ("STOP", "stop"),
    ("MAX_TOKENS", "length"),
    *((word, "content_filter") for word in (
        "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION", "NEW_TODAY"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("there", "here"), REASONS)
def test_reasons_of_ending(there: str, here: str) -> None:
    """Each has its word in the other format; one that nobody knows is no success."""
    stream = stream_of(part_of('{"text": "a"}', f',"finishReason": "{there}"'))
    assert events_of(read(to_chat(), [stream]))[-1]["choices"][0]["finish_reason"] == here


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
def test_an_answer_that_broke_down_is_none(reason: str) -> None:
    """Asking again helps, so that it is told as an error, whole and streamed."""
    candidate = part_of("", f',"finishReason": "{reason}"')
    failed = passed_and_failure(to_chat(), [stream_of(part_of('{"text": "a"}'), candidate)])[1]
    assert failed is not None
    assert reason in failed.failure.message
    with pytest.raises(AnswerFailed, match=reason):
        to_chat().whole(f'{{"candidates": [{candidate}]}}'.encode())


def test_an_error_event_keeps_its_meaning() -> None:
    """As the provider means it, with its own form kept."""
    error = b'data: {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}\r\n\r\n'
    passed, failed = passed_and_failure(to_chat(), [stream_of(part_of('{"text": "a"}')) + error])
    assert passed
    assert failed is not None
    assert (failed.failure.kind, failed.failure.format) == (FailureKind.RATE_LIMITED, "gemini")


TWO = "".join(
    f'data: {{"candidates": [{{"content": {{"parts": [{{"text": "{text}"}}]}},"index": {index}{end}}}],{_HEAD}}}\r\n\r\n'
    for text, index, end in (("a", 0, ""), ("x", 1, ""), ("b", 0, STOP), ("y", 1, STOP))
).encode()


def test_several_candidates() -> None:
    """Each goes to its own choice; each that was asked for must have come to its end."""
    chunks = events_of(read(to_chat(candidates=2), [TWO]))
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == ["ab", "xy"]
    assert passed_and_failure(to_chat(candidates=3), [TWO])[1] is not None
    assert passed_and_failure(to_chat(candidates=2), [STREAMS["blocked"]])[1] is None
    cut = TWO[: TWO.rindex(b"data:")]
    assert passed_and_failure(to_chat(candidates=2), [cut])[1] is not None


def test_how_many_are_asked_for_is_read_from_the_call() -> None:
    """In each format's own words; and whether an array is wanted."""
    two = b'{"model":"m","stream":true,"n":2,"messages":[]}'
    assert frame_of(chat_call(body=two), None, LIMIT).candidates == 2
    asked = b'{"generationConfig":{"candidateCount":2}}'
    assert frame_of(gemini_call(body=asked), None, LIMIT) == Frame(LIMIT, candidates=2)
    assert frame_of(gemini_call(query=b""), None, LIMIT) == Frame(LIMIT, array=True)


# ---- A whole answer of the API's


def whole_of(name: str) -> bytes:
    """Return a stream of one event as the whole answer that it is."""
    (data,) = re.findall(rb"data: (.*)\r\n", ALL[name])
    return bytes(data)


def test_a_whole_answer_is_read() -> None:
    """As its stream would be."""
    reply = read_generate_reply(whole_of("call"))
    assert reply == Reply(
        "mAitaLmkHPPlz7IPvtfUqQ5",
        "gemini-2.5-flash",
        (
            Candidate(
                (
                    Thinking("", "CpwBAVSoXO4", origin="gemini_generate"),
                    ToolCall("call_mAitaLmkHPPlz7IPvtfUqQ5_0", "get_weather", '{"location":"Utrecht"}'),
                ),
                "tool",
            ),
        ),
        Usage(94, 29),
    )
    assert read_generate_reply(whole_of("blocked")).first == Candidate((), "filtered")
    likely = TokenLogprob("Yes", -0.1, (("Yes", -0.1), ("No", -2.5)))
    assert read_generate_reply(whole_of("likely")).first.logprobs == (likely,)


def test_where_words_come_from_is_read() -> None:
    """With the place, which the API counts in bytes: only where those are characters is it told on."""
    spain, euro = '{"text": "Spain won Euro 2024, yes"}', '{"text": "España won Euro 2024"}'
    for part, places in ((spain, (0, 24)), (euro, (0, 0))):
        body = f'{{"candidates": [{part_of(part, GROUNDED)}]}}'.encode()
        (words,) = read_generate_reply(body).first.parts
        assert isinstance(words, Text)
        assert words.citations == (
            Citation("https://vertexaisearch.cloud.google.com/1", "aljazeera.com", "", *places),
            Citation("https://vertexaisearch.cloud.google.com/2", "uefa.com"),
        )


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"candidates": []}', b'{"error": {"code": 503}}'])
def test_what_is_no_answer_fails(body: bytes) -> None:
    """Also an error in a 200's clothes, and an answer without any candidate or reason."""
    with pytest.raises(AnswerFailed):
        to_chat().whole(body)


@pytest.mark.parametrize("name", ["parallel", "grounded", "likely", "drawn", "blocked"])
def test_no_answer_breaks_its_reader(name: str) -> None:
    """Whatever stands in whatever place, it is an answer or a failure, whole and streamed."""
    for event in events_of(ALL[name]):
        for mutant in mutants(event):
            body = json.dumps(mutant).encode()
            with contextlib.suppress(AnswerFailed):
                to_chat().whole(body)
            passed_and_failure(to_messages(), [b"data: " + body + b"\r\n\r\n"])


# ---- To a client of the Gemini API


def generated(stream: bytes, *, array: bool = False) -> tuple[str, str, list[Any], Any]:
    """Return what the official types make of a stream: thoughts, words, calls, and the reason."""
    documents = json.loads(stream) if array else events_of(stream)
    answers = [types.GenerateContentResponse.model_validate(document) for document in documents]
    parts = [part for answer in answers for part in (answer.candidates or [])[0].content.parts or []]  # type: ignore[union-attr] # each has content
    calls = [(part.function_call.id, part.function_call.name, part.function_call.args) for part in parts
             if part.function_call]  # fmt: skip
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    words = "".join(part.text or "" for part in parts if not part.thought)
    (reason,) = [reason for answer in answers if (reason := (answer.candidates or [])[0].finish_reason)]
    return thoughts, words, calls, reason.value


MESSAGES_GENERATED: dict[str, tuple[str, str, list[Any], str]] = {
    "basic": ("", "Hello!", [], "STOP"),
    "tools": (
        "",
        "Okay, let's check:",
        [("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", {"location": "San Francisco, CA"})],
        "STOP",
    ),
    "thinking": (
        "I need to find the GCD of 1071 and 462.\n1071 = 2 x 462 + 147",
        "The greatest common divisor is **21**.",
        [],
        "STOP",
    ),
}


@pytest.mark.parametrize("array", [False, True], ids=["events", "array"])
@pytest.mark.parametrize("name", MESSAGES_GENERATED)
def test_a_stream_of_anthropics_becomes_one_of_geminis(name: str, array: bool) -> None:  # noqa: FBT001 - a column of the table
    """As events, or as the elements of one array; however it is cut, with the same bytes."""
    reader = from_messages(array=array)
    whole = read(reader, [MESSAGES[name]])
    assert generated(whole, array=array) == MESSAGES_GENERATED[name]
    assert reader.sequence == whole.count(b'"candidates"')
    for pieces in split_everywhere(MESSAGES[name]):
        assert read(from_messages(array=array), pieces) == whole


@pytest.mark.parametrize("name", MESSAGES_GENERATED)
def test_a_stream_of_anthropics_that_is_cut_off_fails(name: str) -> None:
    """No event has a finishReason then, and no array is closed."""
    stream = MESSAGES[name]
    for at in range(1, stream.rindex(b"}")):
        passed, failed = passed_and_failure(from_messages(array=True), [stream[:at]])
        assert failed is not None
        assert b"finishReason" not in passed
        assert not passed.endswith(b"]")


def call_delta(index: int, name: str = "", arguments: str = "") -> dict[str, Any]:
    named = {"id": f"call_{name}", "type": "function"} if name else {}
    return chat_chunk({"tool_calls": [{"index": index, **named, "function": {"name": name, "arguments": arguments}}]})


ROLE, END = chat_chunk({"role": "assistant", "content": None}), chat_chunk({}, "tool_calls")
USAGE = {"choices": [], "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
                                  "prompt_tokens_details": {"cached_tokens": 4},
                                  "completion_tokens_details": {"reasoning_tokens": 3}}}  # fmt: skip

# What providers write (https://platform.openai.com/docs/guides/function-calling, "Streaming"), and what some of them do.
CHAT_STREAMS: dict[str, tuple[Events, tuple[str, str, list[Any], str]]] = {
    "words": (
        [ROLE, chat_chunk({"content": "Hel"}), chat_chunk({"content": "lo"}), chat_chunk({}, "length")],
        ("", "Hello", [], "MAX_TOKENS"),
    ),
    "calls interleaved": (
        [ROLE, call_delta(0, "a"), call_delta(1, "b", '{"y"'), call_delta(0, "", '{"x":1}'), call_delta(1, "", ":2}"), END],
        ("", "", [("call_a", "a", {"x": 1}), ("call_b", "b", {"y": 2})], "STOP"),
    ),
    "calls without arguments, or with broken ones": (
        [ROLE, call_delta(0, "a"), call_delta(1, "b", "{no"), END],
        ("", "", [("call_a", "a", {}), ("call_b", "b", {"_raw": "{no"})], "STOP"),
    ),
    "thoughts": (
        [ROLE, chat_chunk({"reasoning_content": "So."}), chat_chunk({"content": "A"}), chat_chunk({}, "content_filter")],
        ("So.", "A", [], "SAFETY"),
    ),
    "a refusal": ([ROLE, chat_chunk({"refusal": "No."}), chat_chunk({}, "stop")], ("", "No.", [], "SAFETY")),
    "nothing": ([ROLE, chat_chunk({}, "stop")], ("", "", [], "STOP")),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_stream_of_openais_becomes_one_of_geminis(name: str) -> None:
    """A call comes whole; however it is cut."""
    chunks, wanted = CHAT_STREAMS[name]
    stream = sse(*chunks, USAGE, "[DONE]")
    whole = read(from_chat(), [stream])
    assert generated(whole) == wanted
    assert events_of(whole)[-1]["usageMetadata"] == {
        "promptTokenCount": 19,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 29,
    }
    for pieces in split_everywhere(stream):
        assert read(from_chat(), pieces) == whole


def test_the_form_is_the_apis_own() -> None:
    """`data: ` and CR LF, the client's name of the model, the provider's id."""
    stream = sse(ROLE, chat_chunk({"content": "a"}), chat_chunk({}, "stop"), "[DONE]")
    first, last, rest = read(from_chat(model="mine"), [stream]).split(b"\r\n\r\n")
    assert rest == b""
    tail = b'"modelVersion":"mine","responseId":"chatcmpl-123"}'
    assert first == b'data: {"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}],' + tail
    assert last.startswith(b"data: {")
    assert last.endswith(tail)


def test_what_another_provider_signed_is_kept_by_the_client() -> None:
    """Sealed, in base64 as the SDK decodes it, on the part behind the thought."""
    answers = events_of(read(from_messages(), [MESSAGES["thinking"]]))
    (part,) = [part for answer in answers for part in answer["candidates"][0]["content"]["parts"]
               if "thoughtSignature" in part]  # fmt: skip
    assert part["text"].startswith("The greatest")
    (thought,) = unsealed(part["thoughtSignature"]) or ()
    assert (thought.text[:15], thought.signature[:8], thought.origin) == (
        "I need to find ",
        "EqQBCgIY",
        "anthropic_messages",
    )
    kept = types.Part.model_validate(part)
    again = kept.model_dump(mode="json", exclude_none=True)["thought_signature"]
    assert unsealed(again) == (thought,)
    assert base64.urlsafe_b64decode(again).startswith(b"__rt1_")


def test_calls_leave_in_their_order() -> None:
    """One that is whole waits for those before it, as clients count them."""
    writer = GenerateWriter(Frame(LIMIT))
    begun: list[Event] = [ToolStarted(0, "a", "f"), ToolStarted(1, "b", "f"), ToolEnded(1)]
    assert [writer.write(event) for event in begun] == [b"", b"", b""]
    written = writer.write(ToolEnded(0))
    assert 0 < written.index(b'"id":"a"') < written.index(b'"id":"b"')
    with pytest.raises(AnswerFailed, match="complete"):
        writer.write(ToolDelta(0, "{}"))


def test_what_waits_is_bounded() -> None:
    """A call that never ends does not fill the memory."""
    chunks = [ROLE, call_delta(0, "a"), *(call_delta(0, "", "x" * 100) for _ in range(20))]
    failed = passed_and_failure(from_chat(limit=1000), [sse(event) for event in chunks])[1]
    assert failed is not None
    assert "too large" in failed.failure.message


def test_a_whole_answer_is_written() -> None:
    """With several candidates, likelihoods and sources, whose places are counted in bytes; the official types read it."""
    reply = Reply(
        "r",
        "m",
        (
            Candidate(
                (Text("Españ won", (Citation("https://a", "A", "", 7, 9), Citation(title="book", quote="says"))),),
                "stop",
                logprobs=(TokenLogprob("E", -0.5, (("E", -0.5),)),),
            ),
            Candidate((Thinking("hm", "SIG", origin="o"), ToolCall("c", "f", '{"a":1}')), "tool"),
        ),
        Usage(5, 7, 0, 3),
    )
    answer = types.GenerateContentResponse.model_validate_json(write_generate_reply(reply, Frame(LIMIT, model="mine")))
    first, second = answer.candidates or []
    assert answer.model_version == "mine"
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata.candidates_token_count, answer.usage_metadata.thoughts_token_count) == (4, 3)
    grounding: Any = first.grounding_metadata
    assert grounding.grounding_chunks[0].web.uri == "https://a"
    assert grounding.grounding_chunks[1].retrieved_context.text == "says"
    (support,) = grounding.grounding_supports
    assert (support.segment.start_index, support.segment.end_index) == (8, 10)
    likely: Any = first.logprobs_result
    assert likely.chosen_candidates[0].log_probability == -0.5
    content: Any = second.content
    thought, call = content.parts
    assert (thought.text, thought.thought) == ("hm", True)
    assert call.function_call.args == {"a": 1}
    assert call.thought_signature.startswith(b"__rt1_")
    assert second.finish_reason is types.FinishReason.STOP
