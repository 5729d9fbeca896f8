"""Answers of one JSON object, and answers that no wire reads."""

from __future__ import annotations

import pytest

from adaptors.failure import AnswerFailed, FailureKind
from adaptors.values import Usage
from adaptors.wires.openai_json import JSONAnswer, PassedOn
from adaptors.wires.openai_usage import read_usage

# https://platform.openai.com/docs/api-reference/embeddings/create
EMBEDDINGS = b"""{
  "object": "list",
  "data": [{"object": "embedding", "embedding": [0.0023064255, -0.009327292], "index": 0, "model": "text-embedding-ada-002"}],
  "model": "text-embedding-ada-002",
  "usage": {"prompt_tokens": 8, "total_tokens": 8}
}"""


def test_an_answer_passes_byte_for_byte() -> None:
    """White space and all; the usage is read in passing."""
    answer = JSONAnswer(None)
    assert answer.whole(EMBEDDINGS) == EMBEDDINGS
    assert answer.usage == Usage(input_tokens=8)
    assert answer.complete


def test_a_renamed_answer_differs_in_the_top_level_model_alone() -> None:
    """The same name deeper down is not the answer's model."""
    out = JSONAnswer("fast").whole(EMBEDDINGS)
    head, _, tail = EMBEDDINGS.rpartition(b'"text-embedding-ada-002"')
    assert out == head + b'"fast"' + tail


@pytest.mark.parametrize("body", [b"", b"<html>", b"hello", b'{"error":{"message":"m"}}', b'{"object":"error"}', b"[]"])
def test_a_200_that_is_no_answer_is_a_failure(body: bytes) -> None:
    """An error in a 200's clothes, a page, nothing."""
    with pytest.raises(AnswerFailed) as raised:
        JSONAnswer(None).whole(body)
    assert raised.value.failure.message
    assert raised.value.failure.kind in {FailureKind.BROKEN_ANSWER, FailureKind.SERVER_ERROR}


def test_a_stream_where_one_body_was_due_is_a_failure() -> None:
    """These paths have no stream that this wire reads."""
    for read in (JSONAnswer(None).chunks(b"data: {}\n\n"), JSONAnswer(None).end()):
        with pytest.raises(AnswerFailed, match="stream"):
            next(read)


@pytest.mark.parametrize(
    ("body", "stored_id"),
    [
        (b'{"id":"file-1","object":"file"}', "file-1"),
        (b'{"id":"upload_1","object":"upload","file":{"id":"file-2"}}', "file-2"),
        (b'{"id":"upload_1","object":"upload","file":null}', "upload_1"),
        (b'{"id":7}', None),
        (b"{}", None),
    ],
)
def test_the_id_of_what_was_made_is_known(body: bytes, stored_id: str | None) -> None:
    """A completed upload has made a file: that is the id that will be asked for."""
    answer = JSONAnswer(None)
    answer.whole(body)
    assert answer.stored_id == stored_id


def test_what_no_wire_reads_goes_through_as_it_comes() -> None:
    """Streamed or whole; the body's own framing says when it is complete."""
    answer = PassedOn()
    assert list(answer.chunks(b"\x00\xff")) == [b"\x00\xff"]
    assert not answer.complete
    assert list(answer.end()) == []
    assert answer.complete
    assert PassedOn().whole(b"RIFF") == b"RIFF"


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}, Usage(9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(9, 5)),
        ({"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, 5, 4)),
        # OpenAI: reasoning is part of completion_tokens
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
          "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(9, 5, 0, 3)),
        # xAI: it is not, and the total says so (https://docs.x.ai)
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
          "completion_tokens_details": {"reasoning_tokens": 94}}, Usage(32, 103, 0, 94)),
        # DeepSeek: https://api-docs.deepseek.com/guides/kv_cache
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 8}, Usage(9, 5, 8)),
        ({"prompt_tokens": "9", "completion_tokens": -5, "total_tokens": True}, Usage()),
        ({}, Usage()),
        (None, None),
        ([], None),
        ("9", None),
    ],
)  # fmt: skip
def test_tokens_are_counted_by_one_rule(usage: object, counted: Usage | None) -> None:
    """Input includes what was cached, output includes reasoning, whatever the provider calls and adds."""
    assert read_usage(usage) == counted
