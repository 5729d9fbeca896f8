"""Responses streams pass as they came, and only a terminal event ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import (
    LIMIT,
    NO_STREAMS,
    failure_of,
    passed_and_failure,
    read,
    sdk_client,
    split_at,
    split_at_events,
    split_everywhere,
)

from adaptors.failure import AnswerFailed, FailureKind
from adaptors.values import Usage
from adaptors.wires.openai_responses import OPENING, ResponsesAnswer, is_plain

# https://platform.openai.com/docs/api-reference/responses-streaming, shortened; "instructions" speaks of models
RESPONSE: dict[str, Any] = {
    "id": "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654", "object": "response", "created_at": 1741487325,
    "status": "in_progress", "error": None, "incomplete_details": None, "instructions": '"model":"gpt-4.1" {"error":1}',
    "model": "gpt-4.1-2025-04-14", "output": [], "parallel_tool_calls": True, "previous_response_id": None,
    "store": True, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "usage": None,
    "metadata": {},
}  # fmt: skip
USAGE = {
    "input_tokens": 37,
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 48,
    "input_tokens_details": {"cached_tokens": 5},
}
ITEM = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
PART = {"type": "output_text", "text": "", "annotations": []}
WHERE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def terminal(status: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {**RESPONSE, "status": status, "usage": USAGE, **more}}


def body_of(status: str, **more: Any) -> list[dict[str, Any]]:
    delta = {"type": "response.output_text.delta", **WHERE, "logprobs": []}
    return numbered(
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.in_progress", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
        {"type": "response.content_part.added", **WHERE, "part": PART},
        {**delta, "delta": "Hi"},
        {**delta, "delta": '"response":{"error": data: }\n\nevent: x'},
        {"type": "response.output_text.done", **WHERE, "text": "Hi", "logprobs": []},
        terminal(status, **more),
    )


def sse(
    *events: dict[str, Any], separators: tuple[str, str] = (",", ":"), end: str = "\n", named: bool = True
) -> bytes:
    texts = [
        (f"event: {event['type']}{end}" if named else "") + f"data: {json.dumps(event, separators=separators)}{end * 2}"
        for event in events
    ]
    return "".join(texts).encode()


STREAMS = {
    "completed": sse(*body_of("completed")),
    "incomplete": sse(*body_of("incomplete", incomplete_details={"reason": "max_output_tokens"})),
    "failed": sse(*body_of("failed", error={"code": "server_error", "message": "The model failed."})),
    "spaced": sse(*body_of("completed"), separators=(", ", ": ")),
    "crlf": sse(*body_of("completed"), end="\r\n"),
    "cr": sse(*body_of("completed"), end="\r"),
    "unnamed": sse(*body_of("completed"), named=False),
    "commented": b": hello\n\n" + sse(*body_of("completed")[:5]) + b": x\n\n" + sse(*body_of("completed")[5:]),
    "no error field": sse(*body_of("completed")).replace(b'"error":null,', b""),
    "done after it": sse(*body_of("completed")) + b"data: [DONE]\n\n",
}


def reader(model: str | None = None) -> ResponsesAnswer:
    return ResponsesAnswer(model=model, max_event_bytes=LIMIT)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_passes_byte_for_byte_however_it_is_cut(stream: bytes) -> None:
    """Also one that ends in `response.failed`: that is the truth about the response, and its stream is complete."""
    for pieces in split_everywhere(stream):
        answer = reader()
        out = read(answer, pieces)
        assert out == stream or (out + b"\n" == stream and stream.endswith(b"\r\n"))
        assert answer.complete
        assert answer.usage == Usage(37, 11, 5, 2)
        assert answer.stored_id == RESPONSE["id"]
        assert answer.sequence == len(body_of("completed"))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_before_its_terminal_event_fails(name: str) -> None:
    """Cut at every byte: unless the terminal event is whole, nothing has proven the end."""
    stream = STREAMS[name]
    whole_at = stream.rindex(b"}") + 1
    for at in range(len(stream)):
        for pieces in ([stream[:at]], split_at_events(stream[:at])):
            passed, failed = passed_and_failure(reader(), pieces)
            assert (failed is None) == (at >= whole_at), stream[:at][-80:]
            assert failed is None or failed.failure.kind is FailureKind.BROKEN_ANSWER
            assert failed is None or stream.startswith(passed.rstrip())


@pytest.mark.parametrize("count", [1, 2])
def test_opening_events_bind_nobody(count: int) -> None:
    """Another attempt may follow `created`, `queued` and `in_progress`; not the first item."""
    answer = reader()
    events = body_of("completed")
    list(answer.chunks(sse(*events[:count])))
    assert not answer.content_seen
    assert answer.sequence == count
    list(answer.chunks(sse(events[2])))
    assert answer.content_seen


def test_the_sequence_goes_on_where_the_stream_was_resumed() -> None:
    """An error event of ours carries the number after the last one that was seen, however the events came."""
    answer = reader()
    assert answer.sequence == 0
    resumed = [{**event, "sequence_number": event["sequence_number"] + 40} for event in body_of("completed")]
    for number, event in enumerate(resumed):
        list(answer.chunks(sse(event)))
        assert answer.sequence == number + 41
    list(answer.chunks(b": comment\n\n"))
    assert answer.sequence == 48


@pytest.mark.parametrize("name", STREAMS)
def test_a_renamed_model_changes_in_the_response_objects_alone(name: str) -> None:
    """The instructions that speak of models, and all other bytes, stay."""
    stream = STREAMS[name]
    for pieces in split_everywhere(stream):
        out = read(reader(model='fa"st'), pieces)
        expected = stream.replace(b'"gpt-4.1-2025-04-14"', b'"fa\\"st"')
        assert out == expected or (out + b"\n" == expected and stream.endswith(b"\r\n"))


ERRORS: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}, 429, "slow", None),
    ({"type": "error", "error": {"type": "x", "message": "nested"}}, 502, "nested", '{"type":"x","message":"nested"}'),
    ({"type": "error", "code": "server_error", "message": "m", "error": {"message": "both"}}, 500, "both",
     '{"message":"both"}'),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "message", "raw"), ERRORS)
@pytest.mark.parametrize("count", [0, 2, 5])
def test_an_error_event_ends_the_answer(
    error: dict[str, Any], status: int, message: str, raw: str | None, count: int
) -> None:
    """Flat, nested or both, with its name or without: it is told, and what came before it has passed."""
    before, after = sse(*body_of("completed")[:count]), sse(*body_of("completed")[5:])
    events = [sse({**error, "sequence_number": 9}, named=named) for named in (True, False)]
    cuts = (pieces for event in events for pieces in split_everywhere(before + event + after))
    for pieces in cuts:
        answer = reader()
        passed, failed = passed_and_failure(answer, pieces)
        assert passed == before
        assert failed is not None
        assert (failed.failure.status, failed.failure.message) == (status, message)
        assert failed.failure.type in {None, "x"}
        assert failed.failure.raw == (raw.encode() if raw else None)
        assert not answer.complete


@pytest.mark.parametrize(
    "garbage", [b"data: <html>\n\n", b"event: x\ndata: {\n\n", b"data: 7\n\n", b"data: [DONE]\n\n"]
)
@pytest.mark.parametrize("count", [0, 5])
def test_garbage_in_a_stream_ends_the_answer(garbage: bytes, count: int) -> None:
    """Data that is no JSON object is the provider's fault, and is not passed on."""
    before = sse(*body_of("completed")[:count])
    passed, failed = passed_and_failure(reader(), [before + garbage, STREAMS["completed"]])
    assert failed is not None
    assert failed.failure.kind is FailureKind.BROKEN_ANSWER
    assert passed == before


@pytest.mark.parametrize(("body", "told"), NO_STREAMS)
def test_what_is_no_stream_is_told_for_what_it_is(body: bytes, told: str) -> None:
    """In the place of a stream, or after its first events: an error keeps its words, a page is never passed on."""
    before = sse(*body_of("completed")[:5])
    for start in (b"", before):
        for pieces in split_everywhere(start + body):
            passed, failed = passed_and_failure(reader(), pieces)
            assert passed == start
            assert failed is not None
            assert told in failed.failure.message


def test_an_event_over_the_limit_ends_the_answer() -> None:
    """The limit is named."""
    failed = failure_of(ResponsesAnswer(model=None, max_event_bytes=500), [STREAMS["completed"]])
    assert failed is not None
    assert "500 bytes" in failed.failure.message


@pytest.mark.parametrize(
    ("block", "plain"),
    [
        (sse(*body_of("completed")[4:6]), True),
        (sse(*body_of("completed")[4:6], end="\r\n"), False),
        (sse(*body_of("completed")[4:6], named=False), False),
        (sse(*body_of("completed")[4:6]) + b": x\n\n", False),
        (b": x\n\n" + sse(*body_of("completed")[4:6]), False),
        (sse(body_of("completed")[4]) + b"event: x\ndata: garbage\n\n" + sse(body_of("completed")[4]), False),
        (sse(body_of("completed")[4]) + b"event: x\ndata: garbage}\n\n" + sse(body_of("completed")[4]), False),
        (sse(*body_of("completed")[4:6]).replace(b"data:", b"id: 1\ndata:", 1), False),
        (b"", False),
    ],
)
def test_a_plain_block_is_a_name_and_a_line_of_json_for_each_event(block: bytes, plain: bool) -> None:  # noqa: FBT001
    """Anything else goes the careful way."""
    assert is_plain(block) is plain


class Careful(ResponsesAnswer):
    """Decodes every event: what the fast path must agree with."""

    def chunks(self, data: bytes) -> Any:
        self_block = self._parser.whole_events(data)
        yield from self._watched(self_block)


events = st.sampled_from(
    [
        *body_of("completed"),
        terminal("failed"),
        {"type": "error", "message": "m"},
        {"type": "new", "sequence_number": 70},
    ]
)
framings = st.sampled_from([{}, {"separators": (", ", ": ")}, {"end": "\r\n"}, {"named": False}])


@given(st.lists(events, max_size=10), framings, st.lists(st.integers(0, 9000), max_size=5))
@settings(max_examples=300)
def test_any_stream_is_read_as_if_every_event_were_decoded(
    listed: list[Any], framing: dict[str, Any], places: list[int]
) -> None:
    """Random events in random framings and cuts: same bytes, same usage, same end as the careful reading."""
    outcomes = []
    for kind in (ResponsesAnswer, Careful):
        answer = kind(model="renamed", max_event_bytes=LIMIT)
        passed, failed = passed_and_failure(answer, split_at(sse(*listed, **framing), places))
        facts = (answer.usage, answer.complete, answer.content_seen, answer.stored_id)
        outcomes.append((passed, failed and failed.failure, facts))
    assert outcomes[0] == outcomes[1]


def test_a_whole_response_passes_byte_for_byte_or_with_its_model_renamed() -> None:
    """A response that failed is an answer that says so: it passes."""
    for status, error in (("completed", None), ("failed", {"code": "server_error", "message": "m"})):
        body = json.dumps({**RESPONSE, "status": status, "usage": USAGE, "error": error}, indent=1).encode()
        answer = reader()
        assert answer.whole(body) == body
        assert (answer.usage, answer.stored_id) == (Usage(37, 11, 5, 2), RESPONSE["id"])
        assert reader(model="fast").whole(body) == body.replace(b'"gpt-4.1-2025-04-14"', b'"fast"')


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":{"message":"m"}}', b"{", b"[]"])
def test_a_200_that_is_no_response_is_a_failure(body: bytes) -> None:
    """An error, a page, nothing."""
    with pytest.raises(AnswerFailed):
        reader().whole(body)


@pytest.mark.parametrize("name", ["completed", "incomplete", "failed", "spaced", "crlf", "commented", "done after it"])
def test_the_official_sdk_reads_what_passes(name: str) -> None:
    """Typed events come out of the renamed stream, with the client's name of the model."""
    with sdk_client(read(reader(model="fast"), [STREAMS[name]])) as client:
        events = list(client.responses.create(model="m", input="x", stream=True))
    assert [event.type for event in events] == [event["type"] for event in body_of(events[-1].type.split(".")[1])]
    assert all(event.response.model == "fast" for event in events if event.type in OPENING)  # type: ignore[union-attr]
