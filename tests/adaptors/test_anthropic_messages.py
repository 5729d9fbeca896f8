"""An answer of the Anthropic API reaches an Anthropic client byte for byte, and its end is proven."""

from __future__ import annotations

import pytest
from anthropic_streams import BASIC, OVERLOADED, STREAMS, THINKING, TOOLS
from openai_streams import LIMIT, failure_of, passed_and_failure, read, split_everywhere

from adaptors.failure import AnswerFailed, FailureKind
from adaptors.values import Usage
from adaptors.wires import anthropic_messages
from adaptors.wires.anthropic_messages import CountedAnswer, MessagesAnswer

ALL = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


def answer(model: str | None = None, limit: int = LIMIT) -> MessagesAnswer:
    return MessagesAnswer(model=model, max_event_bytes=limit)


@ALL
def test_a_stream_passes_byte_for_byte_however_it_is_cut(stream: bytes) -> None:
    """In one piece, byte by byte, and in two pieces cut at every byte."""
    for pieces in split_everywhere(stream):
        reader = answer()
        assert read(reader, pieces) == stream
        assert reader.complete


@ALL
def test_a_stream_that_is_cut_off_anywhere_fails(stream: bytes) -> None:
    """What came before is the client's; only the very last line ends may be missing."""
    last = stream.index(
        b'{"type": "message_stop"}' if b'{"type": "message_stop"}' in stream else b'{"type":"message_stop"}'
    )
    whole = len(stream[:last]) + stream[last:].index(b"}") + 1
    for at in range(len(stream)):
        passed, failed = passed_and_failure(answer(), [stream[:at]] if at else [])
        assert stream.startswith(passed.rstrip(b"\n"))
        assert (failed is None) == (at >= whole), stream[:at][-40:]
        if failed is not None:
            assert failed.failure.kind is FailureKind.BROKEN_ANSWER


def test_opening_events_bind_to_nothing() -> None:
    """Up to the first delta another attempt may still follow."""
    reader = answer()
    opening, _, _ = BASIC.partition(b"event: content_block_delta")
    assert b"".join(reader.chunks(opening)) == opening
    assert not reader.content_seen
    list(reader.chunks(BASIC[len(opening) :]))
    assert reader.content_seen


def test_a_block_of_deltas_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first content, what is neither an end nor an error goes on unread."""
    reader = answer()
    list(reader.chunks(TOOLS[: TOOLS.index(b"event: message_delta")]))
    assert reader.content_seen
    monkeypatch.setattr(anthropic_messages, "decoded_event", None)
    deltas = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"a"}}\n\n' * 3
    assert b"".join(reader.chunks(deltas)) == deltas


def test_what_an_event_is_stands_in_its_data() -> None:
    """A gateway may give all events one name; the end is seen all the same."""
    reader = answer()
    list(reader.chunks(BASIC[: BASIC.index(b"event: message_delta")]))
    end = b'event: message\ndata: {"type":"message_stop"}\n\n'
    assert list(reader.chunks(end)) == [end]
    assert reader.complete


def test_usage_is_cumulative_and_brought_to_one_rule() -> None:
    """Input counts the cache, which the API leaves out; a message_delta that tells the input again replaces it."""
    reader = answer()
    read(reader, [BASIC])
    assert reader.usage == Usage(25, 15)
    cached = b'{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"output_tokens":1}'
    delta = b'{"input_tokens":null,"cache_read_input_tokens":101,"output_tokens":15,"output_tokens_details":{"thinking_tokens":4}}'
    stream = BASIC.replace(b'{"input_tokens": 25, "output_tokens": 1}', cached).replace(b'{"output_tokens": 15}', delta)
    reader = answer()
    read(reader, [stream])
    assert reader.usage == Usage(133, 15, cached_tokens=101, reasoning_tokens=4, cache_written_tokens=7)


@ALL
def test_only_the_model_of_the_message_is_renamed(stream: bytes) -> None:
    """No other byte changes, however the stream is cut."""
    renamed = stream.replace(b'"claude-opus-4-1-20250805"', b'"mine"')
    assert read(answer("mine"), [stream]) == renamed
    assert read(answer("mine"), [bytes([byte]) for byte in stream]) == renamed


@pytest.mark.parametrize("before", [b"", BASIC[: BASIC.index(b"event: content_block_stop")]])
def test_an_error_event_fails_with_the_status_of_its_type(before: bytes) -> None:
    """529 for overloaded_error; the error object is kept for clients of the same format."""
    for pieces in split_everywhere(before + OVERLOADED):
        passed, failed = passed_and_failure(answer(), pieces)
        assert passed == before
        assert failed is not None
        failure = failed.failure
        assert (failure.kind, failure.status, failure.type) == (FailureKind.OVERLOADED, 529, "overloaded_error")
        assert failure.format == "anthropic"
        assert failure.raw == b'{"type": "overloaded_error", "message": "Overloaded"}'


GARBAGE = [
    (b"event: content_block_delta\ndata: {oops\n\n", "not JSON"),
    (b"<html>Bad gateway</html>\n\n", "HTML"),
    (b"data: [1]\n\n", "no object"),
    (b'{"type":"message","content":[]}\n\n', "one JSON body"),
]


@pytest.mark.parametrize(("garbage", "words"), GARBAGE)
def test_garbage_in_a_stream_fails(garbage: bytes, words: str) -> None:
    """At its start, where each event is read."""
    failed = failure_of(answer(), [garbage])
    assert failed is not None
    assert words in failed.failure.message
    assert failed.failure.kind is FailureKind.BROKEN_ANSWER


def test_an_event_over_the_limit_fails() -> None:
    """Memory is bounded."""
    failed = failure_of(answer(limit=300), [BASIC[:301].replace(b"\n", b" ")])
    assert failed is not None
    assert "limit" in failed.failure.message


def test_what_follows_the_end_is_no_part_of_the_answer() -> None:
    """In the same read and in a later one."""
    reader = answer()
    assert b"".join(reader.chunks(THINKING + BASIC)) == THINKING
    assert list(reader.chunks(BASIC)) == []
    assert list(reader.end()) == []


# https://docs.claude.com/en/api/messages, the example response
MESSAGE = b"""{
  "content": [{"text": "Hi! My name is Claude.", "type": "text"}],
  "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
  "model": "claude-sonnet-4-20250514",
  "role": "assistant",
  "stop_reason": "end_turn",
  "stop_sequence": null,
  "type": "message",
  "usage": {"input_tokens": 2095, "output_tokens": 503, "cache_read_input_tokens": 5}
}"""


def test_a_whole_message_passes_byte_for_byte() -> None:
    """Its usage is read; with a mapped model only that name changes."""
    reader = answer()
    assert reader.whole(MESSAGE) == MESSAGE
    assert reader.usage == Usage(2100, 503, 5)
    assert reader.complete
    assert answer("mine").whole(MESSAGE) == MESSAGE.replace(b"claude-sonnet-4-20250514", b"mine")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.BROKEN_ANSWER),
        (b"<html>", FailureKind.BROKEN_ANSWER),
        (b"[]", FailureKind.BROKEN_ANSWER),
        (b'{"id":"x"}', FailureKind.BROKEN_ANSWER),
        (BASIC, FailureKind.BROKEN_ANSWER),
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', FailureKind.RATE_LIMITED),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', FailureKind.OVERLOADED),
    ],
)
def test_what_is_no_message_fails(body: bytes, kind: FailureKind) -> None:
    """An error inside a 200 keeps its meaning."""
    with pytest.raises(AnswerFailed) as failed:
        answer().whole(body)
    assert failed.value.failure.kind is kind


def test_other_answers_are_one_json_object() -> None:
    """Counted tokens pass as they come; the id of a batch is learnt."""
    assert CountedAnswer(None).whole(b'{"input_tokens": 7}') == b'{"input_tokens": 7}'
    reader = CountedAnswer(None)
    reader.whole(b'{"id":"msgbatch_1","type":"message_batch"}')
    assert reader.stored_id == "msgbatch_1"
    with pytest.raises(AnswerFailed) as failed:
        CountedAnswer(None).whole(b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}')
    assert failed.value.failure.status == 529
