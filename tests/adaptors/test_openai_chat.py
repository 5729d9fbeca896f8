"""Chat streams pass as they came, and end as they ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai_streams import (
    DONE,
    HELLO,
    LIMIT,
    NO_STREAMS,
    ROLE,
    STOP,
    TRICKY,
    USAGE,
    USAGE_CHUNK,
    call,
    chunk,
    failure_of,
    passed_and_failure,
    read,
    sdk_client,
    split_at,
    split_at_events,
    split_everywhere,
    sse,
)

from adaptors.failure import AnswerFailed, FailureKind
from adaptors.values import Call, Usage
from adaptors.wires.openai_chat import ChatAnswer, choices_asked_for, plain_events

TOOL_CALL = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}
TOOLS = [
    chunk({"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"error":1}'}}]}),
    chunk({}, "tool_calls"),
]
LEGACY = [
    {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "i", "choices": [
        {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]}
    for text, finish in [("Once", None), (" upon", None), ("", "length")]
]  # fmt: skip
NULL_USAGE = [{**event, "usage": None} for event in (ROLE, HELLO, TRICKY, STOP)]
PADDED = [{**event, "obfuscation": "a" * n} for n, event in enumerate((ROLE, HELLO, TRICKY, STOP))]
TWO_CHOICES = [
    chunk({"role": "assistant"}, index=0), chunk({"role": "assistant"}, index=1), chunk({"content": "a"}, index=1),
    chunk({"content": "b"}, index=0), chunk({}, "stop", index=1), chunk({"content": "c"}, index=0),
    chunk({}, "stop", index=0),
]  # fmt: skip
PLAIN = [ROLE, HELLO, TRICKY, HELLO, STOP]

STREAMS = {
    "plain": sse(*PLAIN, DONE),
    "usage": sse(*NULL_USAGE, USAGE_CHUNK, DONE),
    "padded": sse(*PADDED, DONE),
    "tools": sse(*TOOLS, DONE),
    "legacy": sse(*LEGACY, DONE),
    "spaced": sse(*PLAIN, USAGE_CHUNK, DONE, separators=(", ", ": ")),
    "tight": sse(*PLAIN, DONE, head="data:"),
    "crlf": sse(*PLAIN, DONE, end="\r\n\r\n"),
    "cr": sse(*PLAIN, DONE, end="\r\r"),
    "mixed ends": sse(ROLE, HELLO, end="\r\n\n") + sse(HELLO, end="\r\r\n") + sse(STOP, DONE),
    "commented": b": OPENROUTER PROCESSING\n\n" + sse(ROLE) + b": x\n\n" + sse(HELLO, STOP, DONE),
    "named": sse(*PLAIN, DONE, head="event: chunk\ndata: "),
    "many lines": sse(*PLAIN).replace(b'"choices"', b'\ndata: "choices"') + sse(DONE),
    "azure": sse({**HELLO, "choices": [], "model": "", "prompt_filter_results": [{}]}, *PLAIN, DONE),
    "bom": b"\xef\xbb\xbf" + sse(*PLAIN, DONE),
    "two choices": sse(*TWO_CHOICES, DONE),
    "empty reasons": sse(ROLE, chunk({"content": "a"}, ""), chunk({"content": "b"}, ""), STOP, DONE),
    "usage in the last chunk": sse(ROLE, HELLO, {**STOP, "usage": USAGE}, DONE),
}


ASKED = {"two choices": 2}
"""How many choices the stream's request asked for, where it is not one."""


def asking(name: str) -> Call:
    return call(body=b'{"model":"m","n":%d}' % ASKED.get(name, 1))


def without_last_lf(stream: bytes, pieces: list[bytes]) -> bytes:
    """Return what passes of a stream: a LF that a cut parts from its CR comes after the [DONE], and ends no line."""
    return stream[:-1] if pieces[-1] == b"\n" and stream.endswith(b"\r\n") else stream


def reader(call_: Call | None = None, *, model: str | None = None, hides_usage: bool = False) -> ChatAnswer:
    return ChatAnswer(call_ or call(), model=model, hides_usage=hides_usage, max_event_bytes=LIMIT)


class Careful(ChatAnswer):
    """Decodes every event: what the fast path must agree with."""

    def _may_pass(self, block: bytes) -> bool:  # noqa: ARG002
        return False


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_passes_byte_for_byte_however_it_is_cut(stream: bytes) -> None:
    """Whole, byte by byte, and in two at every byte: the client gets the provider's bytes."""
    for pieces in split_everywhere(stream):
        answer = reader()
        assert read(answer, pieces) == without_last_lf(stream, pieces)
        assert answer.complete
        assert answer.content_seen


@pytest.mark.parametrize("name", STREAMS)
def test_the_fast_path_sees_what_decoding_sees(name: str) -> None:
    """Usage, choices and ends are the same whether a block is searched or decoded."""
    for pieces in split_everywhere(STREAMS[name]):
        fast, careful = reader(), Careful(call(), model=None, hides_usage=False, max_event_bytes=LIMIT)
        assert read(fast, pieces) == read(careful, pieces)
        assert fast.usage == careful.usage
        assert fast._finished == careful._finished


def proves(prefix: bytes, asked: int) -> bool:
    """Whether a clean end here proves the stream, by the letter: no torn event, and [DONE] or an end of each choice."""
    text = prefix.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("utf-8", "replace")
    finished = set()
    for event in text.split("\n\n"):
        lines = [line for line in event.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if data == DONE:
            return True
        try:
            choices = json.loads(data)["choices"]
        except ValueError:
            return False
        finished |= {choice["index"] for choice in choices if choice["finish_reason"]}
    return len(finished) == asked


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_fails_unless_it_was_proven(name: str) -> None:
    """Cut at every byte, however fed: a [DONE] or an end of every choice, and no torn event; else it is broken."""
    stream = STREAMS[name]
    for at in range(len(stream)):
        for pieces in ([stream[:at]], split_at_events(stream[:at])):
            failed = failure_of(reader(asking(name)), pieces)
            assert (failed is None) == proves(stream[:at], ASKED.get(name, 1)), stream[:at][-80:]
            assert failed is None or failed.failure.kind is FailureKind.BROKEN_ANSWER


def test_a_torn_event_is_never_passed_on() -> None:
    """What the client has got when the stream breaks is whole events, and nothing after them."""
    stream = STREAMS["plain"]
    for at in range(len(stream)):
        passed = b"".join(reader().chunks(stream[:at]))
        assert stream.startswith(passed)
        assert not passed or passed.endswith(b"\n\n")


def test_a_done_that_was_left_out_is_added() -> None:
    """A clean end after a finish_reason for every choice is complete: the client gets the marker all the same."""
    answer = reader()
    assert read(answer, [sse(*PLAIN, USAGE_CHUNK)]) == sse(*PLAIN, USAGE_CHUNK, DONE)
    assert answer.complete
    assert answer.usage == Usage(19, 10, 4, 3)


def test_a_last_event_that_lacks_only_its_empty_line_counts() -> None:
    """JSON says where it ends, so nothing can be missing from it."""
    assert read(reader(), [sse(*PLAIN, DONE).rstrip()]) == sse(*PLAIN, DONE)
    assert read(reader(), [sse(*PLAIN).rstrip(b"\n")]) == sse(*PLAIN, DONE)


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        (b'{"model":"m"}', 1),
        (b'{"n":2}', 2),
        (b'{"n":null}', 1),
        (b'{"prompt":["a","b"],"n":2}', 4),
        (b'{"prompt":[1,2,3]}', 1),
        (b'{"prompt":[[1],[2]]}', 2),
        (b'{"prompt":"a"}', 1),
        (b"{", 1),
        (b"[]", 1),
    ],
)
def test_as_many_choices_must_end_as_were_asked_for(body: bytes, choices: int) -> None:
    """Also those of which nothing was seen yet: `n` for each prompt."""
    assert choices_asked_for(call(body=body)) == choices
    finished = [chunk({}, "stop", index=index) for index in range(choices)]
    assert failure_of(reader(call(body=body)), [sse(HELLO, *finished)]) is None
    assert failure_of(reader(call(body=body)), [sse(HELLO, *finished[1:])]) is not None


def test_what_follows_done_is_dropped() -> None:
    """It is no part of the answer, in the same read or in a later one."""
    stream, more = sse(*PLAIN, DONE), sse(HELLO) + b"<html>"
    assert read(reader(), [stream + more]) == stream
    assert read(reader(), [stream, more]) == stream


OPENINGS: list[dict[str, Any]] = [
    {"role": "assistant"},
    {"role": "assistant", "content": ""},
    {"role": "assistant", "content": None, "refusal": None, "tool_calls": [], "function_call": {}},
    {},
]
CONTENTS: list[dict[str, Any]] = [
    {"content": " "}, {"tool_calls": [TOOL_CALL]}, {"refusal": "no"}, {"reasoning_content": "hm"}, {"reasoning": "hm"},
    {"audio": {"id": "a"}}, {"function_call": {"name": "f"}}, {"whatever_comes_next": 1},
]  # fmt: skip


@pytest.mark.parametrize("delta", OPENINGS)
def test_an_opening_event_binds_nobody(delta: dict[str, Any]) -> None:
    """A role or an empty delta passes, and another attempt may still follow."""
    answer = reader()
    assert b"".join(answer.chunks(sse(chunk(delta)) + b": x\n\n")) == sse(chunk(delta)) + b": x\n\n"
    assert not answer.content_seen


@pytest.mark.parametrize("delta", CONTENTS)
def test_any_content_binds(delta: dict[str, Any]) -> None:
    """Whatever is more than an opening, also what nobody knows yet, is content."""
    answer = reader()
    list(answer.chunks(sse(ROLE, chunk(delta))))
    assert answer.content_seen


@pytest.mark.parametrize("event", [STOP, LEGACY[0], {**HELLO, "choices": [{"index": 0, "message": {"content": "x"}}]}])
def test_content_outside_the_delta_binds_too(event: dict[str, Any]) -> None:
    """An end, a legacy text, a message where a delta was due."""
    answer = reader()
    list(answer.chunks(sse(event)))
    assert answer.content_seen


def test_an_empty_stream_is_no_answer() -> None:
    """Nothing was said and nothing was proven."""
    for pieces in ([], [b""], [b"\n\n"], [b": x\n\n"]):
        assert failure_of(reader(), pieces) is not None


ERRORS: list[tuple[Any, FailureKind, int, str]] = [
    ({"error": {"message": "busy", "type": "server_error", "code": None}}, FailureKind.SERVER_ERROR, 500, "busy"),
    ({"error": {"message": "slow", "type": "x", "code": "rate_limit_exceeded"}}, FailureKind.RATE_LIMITED, 429, "slow"),
    ({"error": {"code": 502, "message": "Provider died"}}, FailureKind.SERVER_ERROR, 502, "Provider died"),
    ({**HELLO, "error": {"code": "x", "message": "m"}}, FailureKind.SERVER_ERROR, 502, "m"),
    ({"error": "plain"}, FailureKind.SERVER_ERROR, 502, "plain"),
    ({"object": "error", "message": "vllm", "code": 400}, FailureKind.BAD_REQUEST, 400, "vllm"),
    ({"type": "error", "message": "flat"}, FailureKind.SERVER_ERROR, 502, "flat"),
    ({"error": {}, "object": "error"}, FailureKind.SERVER_ERROR, 502, "without a message"),
]


@pytest.mark.parametrize(("event", "kind", "status", "message"), ERRORS)
@pytest.mark.parametrize("before", [[], [ROLE], [ROLE, HELLO]])
def test_an_error_event_ends_the_answer(
    event: Any, kind: FailureKind, status: int, message: str, before: list[Any]
) -> None:
    """At the start or in the middle; what came before it was passed on, and no success marker follows."""
    for pieces in split_everywhere(sse(*before, event, HELLO, DONE)):
        answer = reader()
        passed, failed = passed_and_failure(answer, pieces)
        assert passed == sse(*before)
        assert failed is not None
        failure = failed.failure
        assert (failure.kind, failure.status) == (kind, status)
        assert message in failure.message
        assert not answer.complete


def test_an_error_event_keeps_the_providers_own_object() -> None:
    """A client of the same wire gets it unchanged."""
    failed = failure_of(reader(), [b'data: {"error": {"message": "m",  "code":7}}\n\n'])
    assert failed is not None
    assert failed.failure.raw == b'{"message": "m",  "code":7}'


@pytest.mark.parametrize("garbage", ["<html>", "{", '{"a":1', "null", "[1]", "7", '{"a":1}}', "hello", ""], ids=repr)
@pytest.mark.parametrize("before", [[], [ROLE, HELLO]])
def test_garbage_in_a_stream_ends_the_answer(garbage: str, before: list[Any]) -> None:
    """Data that is no JSON object is the provider's fault, and is not passed on."""
    if garbage == '{"a":1}}' and before:
        pytest.skip("JSON that is broken inside its braces is not looked at after the first content: see the module")
    failed = failure_of(reader(), [sse(*before), sse(garbage), sse(STOP, DONE)])
    assert failed is not None
    assert failed.failure.kind is FailureKind.BROKEN_ANSWER


@pytest.mark.parametrize(("body", "told"), NO_STREAMS)
def test_what_is_no_stream_is_told_for_what_it_is(body: bytes, told: str) -> None:
    """In the place of a stream, or after its first events: an error keeps its words, a page is never passed on."""
    before = sse(ROLE, HELLO)
    for start in (b"", before):
        for pieces in split_everywhere(start + body):
            passed, failed = passed_and_failure(reader(), pieces)
            assert passed == start
            assert failed is not None
            assert told in failed.failure.message


def test_an_event_over_the_limit_ends_the_answer() -> None:
    """The limit is named."""
    answer = ChatAnswer(call(), model=None, hides_usage=False, max_event_bytes=1000)
    failed = failure_of(answer, [sse(ROLE, chunk({"content": "x" * 2000}))])
    assert failed is not None
    assert "1000 bytes" in failed.failure.message


@pytest.mark.parametrize("name", STREAMS)
def test_a_renamed_model_changes_in_every_event_and_nothing_else(name: str) -> None:
    """Only the value of the top-level `model`; the texts that speak of models stay."""
    stream = STREAMS[name]
    for pieces in split_everywhere(stream):
        out = read(reader(model='fa"st'), pieces)
        for before, after in zip(data_of(stream), data_of(out), strict=True):
            assert after == ({**before, "model": 'fa"st'} if isinstance(before, dict) else before)
    if name not in {"many lines", "azure"}:  # there the model is written in more ways than one
        assert out == without_last_lf(stream, pieces).replace(b"gpt-4o-mini", b'fa\\"st').replace(b'"i"', b'"fa\\"st"')


def data_of(stream: bytes) -> list[Any]:
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode()
    datas = [
        "\n".join(line[5:] for line in event.split("\n") if line.startswith("data:")) for event in text.split("\n\n")
    ]
    return [data.strip() if data.strip() == DONE else json.loads(data) for data in datas if data]


def test_a_provider_that_writes_the_model_in_several_ways_is_renamed_all_the_same() -> None:
    """Each event is looked at when the searches do not agree."""
    nested = {**HELLO, "choices": [], "extra": {"model": "gpt-4o-mini"}}
    other, none = {**HELLO, "model": "gpt-4o-2024"}, {k: v for k, v in HELLO.items() if k != "model"}
    events = [ROLE, HELLO, nested, other, none, STOP]
    out = data_of(read(reader(model="fast"), [sse(*events, DONE)]))
    assert out[:-1] == [{**event, "model": "fast"} if "model" in event else event for event in events]


def test_a_nested_model_is_not_taken_for_the_one_that_is_written_otherwise() -> None:
    """Counting is not enough where some events hold two models and others another one."""
    nested = {**HELLO, "choices": [], "extra": {"model": "gpt-4o-mini"}}
    other = {**HELLO, "model": "gpt-4o-2024"}
    answer = reader(model="fast")
    list(answer.chunks(sse(ROLE, HELLO)))
    out = data_of(b"".join(answer.chunks(sse(HELLO, nested, other))))
    assert out == [{**event, "model": "fast"} for event in (HELLO, nested, other)]


def test_usage_that_comes_first_and_once_is_seen() -> None:
    """Perplexity writes it before the choices; events without it teach nothing about where it stands."""
    counted = {"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 4}, **HELLO}
    answer = reader()
    read(answer, [sse(ROLE, HELLO), sse(HELLO, counted, HELLO), sse(STOP, DONE)])
    assert answer.usage == Usage(3, 4)


def test_usage_that_the_relay_asked_for_is_withheld() -> None:
    """The client did not ask for the usage chunk: it gets the stream without it, and the relay the numbers."""
    for pieces in split_everywhere(STREAMS["usage"]):
        answer = reader(hides_usage=True)
        assert read(answer, pieces) == sse(*NULL_USAGE, DONE)
        assert answer.usage == Usage(19, 10, 4, 3)


def test_usage_in_a_chunk_that_also_speaks_is_not_withheld() -> None:
    """What else is in it belongs to the client."""
    stream = STREAMS["usage in the last chunk"]
    assert read(reader(hides_usage=True), [stream]) == stream


def test_the_last_usage_counts() -> None:
    """Some providers count with every chunk: the numbers grow, the last ones are true."""
    growing = [{**HELLO, "usage": {"prompt_tokens": 1, "completion_tokens": n}} for n in range(1, 4)]
    answer = reader()
    read(answer, [sse(*growing, STOP, DONE)])
    assert answer.usage == Usage(1, 3, 0, 0)


def test_the_id_is_kept_where_the_answer_is_stored() -> None:
    """`store` in the request: the completion can be asked for again, at the provider that made it."""
    stored, passing = reader(call(body=b'{"store":true}')), reader()
    read(stored, [STREAMS["plain"]])
    read(passing, [STREAMS["plain"]])
    assert (stored.stored_id, passing.stored_id) == ("chatcmpl-123", None)


@pytest.mark.parametrize(
    ("block", "events"),
    [
        (sse(HELLO), 1),
        (sse(HELLO, TRICKY, STOP), 3),
        (sse(HELLO, HELLO, end="\r\n\r\n"), 2),
        (sse(HELLO, HELLO, head="data:"), 2),
        (sse(HELLO, DONE), 0),
        (b": x\n\n" + sse(HELLO), 0),
        (sse(HELLO) + b": x\n\n" + sse(HELLO), 0),
        (sse(HELLO, "garbage", HELLO), 0),
        (sse(HELLO).replace(b"data", b"event: x\ndata"), 0),
        (sse(HELLO, HELLO).replace(b'"choices"', b'\r"choices"', 1), 0),
        (sse(HELLO, HELLO).replace(b'"choices"', b'\n"choices"', 1), 0),
        (sse(HELLO) + b"\n" + sse(HELLO), 0),
        (b"", 0),
    ],
)
def test_a_plain_block_is_one_line_of_json_for_each_event(block: bytes, events: int) -> None:
    """Anything else, a comment, a name, another line, another line end, goes the careful way."""
    assert plain_events(block) == events


def test_two_choices_in_one_chunk_that_end_at_different_times() -> None:
    """Where an end can be missed by counting, only a [DONE] proves the stream: never is it called complete too early."""
    both = {**HELLO, "choices": [*HELLO["choices"], {**HELLO["choices"][0], "index": 1}]}
    first = {**HELLO, "choices": [{**HELLO["choices"][0], "finish_reason": "stop"}]}
    last = chunk({}, "stop", index=1)
    two = call(body=b'{"n":2}')
    assert read(reader(two), [sse(both), sse(both, first), sse(last, DONE)]).endswith(sse(DONE))
    assert failure_of(reader(two), [sse(both), sse(both, first)]) is not None


deltas = st.one_of(st.sampled_from(OPENINGS + CONTENTS), st.builds(lambda text: {"content": text}, st.text(max_size=8)))
events = st.one_of(
    st.builds(chunk, deltas, st.sampled_from([None, None, None, "stop", ""]), st.integers(0, 2)),
    st.sampled_from(
        [USAGE_CHUNK, NULL_USAGE[1], PADDED[2], TRICKY, {"error": {"message": "m"}}, "[DONE]", "{", LEGACY[0]]
    ),
)
framings = st.sampled_from(
    [{}, {"separators": (", ", ": ")}, {"end": "\r\n\r\n"}, {"head": "data:"}, {"head": "event: e\ndata: "}]
)


@given(st.lists(events, max_size=12), framings, st.lists(st.integers(0, 4000), max_size=5), st.booleans())
@settings(max_examples=400)
def test_any_stream_is_read_as_if_every_event_were_decoded(
    listed: list[Any],
    framing: dict[str, Any],
    places: list[int],
    hides_usage: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Random events in random framings and cuts: same bytes, same usage, same end as the careful reading."""
    stream = sse(*listed, **framing)
    fast, careful = (
        outcome(kind(call(), model="renamed", hides_usage=hides_usage, max_event_bytes=LIMIT), split_at(stream, places))
        for kind in (ChatAnswer, Careful)
    )
    assert fast == careful


def outcome(answer: ChatAnswer, pieces: list[bytes]) -> tuple[object, ...]:
    """Return all that can be seen of reading an answer."""
    passed, failed = passed_and_failure(answer, pieces)
    return passed, failed and failed.failure, answer.usage, answer.complete, answer.content_seen


# Unary.

# https://platform.openai.com/docs/api-reference/chat/create, example "Default"
COMPLETION = b"""{
  "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [{"index": 0, "message": {"role": "assistant", "content": "\\"model\\": \\"x\\"", "refusal": null,
    "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
  "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0}},
  "service_tier": "default"
}
"""


def test_a_whole_answer_passes_byte_for_byte() -> None:
    """White space and all; the usage is read in passing."""
    answer = reader()
    assert answer.whole(COMPLETION) == COMPLETION
    assert answer.usage == Usage(19, 10, 0, 0)
    assert answer.complete
    ChatCompletion.model_validate_json(COMPLETION)


def test_a_renamed_whole_answer_differs_in_the_model_alone() -> None:
    """Not in the texts that speak of models."""
    out = reader(model="fast").whole(COMPLETION)
    assert out == COMPLETION.replace(b'"gpt-4.1-2025-04-14"', b'"fast"')


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!doctype html><p>hello", "HTML"),
        (STREAMS["plain"], "stream of events"),
        (b"hello", "not JSON"),
        (COMPLETION[:-20], "not JSON"),
        (b"[1]", "no object"),
        (b'{"id":"x"}', "no completion"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_200_that_is_no_answer_says_what_it_is(body: bytes, told: str) -> None:
    """An empty body, a page, a stream, half an answer: each is named, and none is passed on."""
    with pytest.raises(AnswerFailed) as raised:
        reader().whole(body)
    failure = raised.value.failure
    assert told in failure.message
    assert failure.kind is FailureKind.BROKEN_ANSWER
    assert "<" not in failure.message


@pytest.mark.parametrize(("document", "kind", "status", "message"), ERRORS)
def test_an_error_inside_a_200_is_an_error(document: Any, kind: FailureKind, status: int, message: str) -> None:
    """As OpenRouter and others send it."""
    if document.get("type") == "error":
        pytest.skip("a form of streams")
    with pytest.raises(AnswerFailed) as raised:
        reader().whole(json.dumps(document).encode())
    assert (raised.value.failure.kind, raised.value.failure.status) == (kind, status)
    assert message in raised.value.failure.message


def test_numbers_and_texts_that_only_some_parsers_take_are_passed_on() -> None:
    """NaN and half a surrogate pair are the provider's to write and the client's to read."""
    body = COMPLETION.replace(b'"refusal": null', b'"refusal": "\\ud83d", "score": NaN')
    assert reader(model="fast").whole(body.replace(b"NaN", b"1")).count(b'"fast"') == 1
    assert reader().whole(body) == body


def test_a_deferred_completion_is_an_answer() -> None:
    """From xAI, with a request_id in the place of choices."""
    assert reader().whole(b'{"request_id":"r"}') == b'{"request_id":"r"}'


# The official SDK reads what passes.


def sdk_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    with sdk_client(stream) as client:
        return list(client.chat.completions.create(model="m", messages=[], stream=True))


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in {"legacy", "named"}])
def test_the_official_sdk_reads_what_passes(name: str) -> None:
    """The renamed stream gives the SDK the same texts under the client's name of the model."""
    texts = [choice.delta.content for c in sdk_chunks(STREAMS[name]) for choice in c.choices]
    out = sdk_chunks(read(reader(model="fast"), [STREAMS[name]]))
    assert [choice.delta.content for c in out for choice in c.choices] == texts
    assert {c.model for c in out} == {"fast"}
