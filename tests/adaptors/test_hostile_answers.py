"""Whatever a provider sends, reading it ends in an answer or in AnswerFailed, and in nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import LIMIT, call, passed_and_failure, split_at

from adaptors.failure import AnswerFailed
from adaptors.openai import OpenAICompatible
from adaptors.protocol import Answer
from adaptors.wires.openai_chat import ChatAnswer
from adaptors.wires.openai_json import JSONAnswer
from adaptors.wires.openai_responses import ResponsesAnswer

READERS: list[Callable[[], Answer]] = [
    lambda: ChatAnswer(call(), model="m", hides_usage=True, max_event_bytes=LIMIT),
    lambda: ResponsesAnswer(model="m", max_event_bytes=LIMIT),
    lambda: JSONAnswer("m"),
]
KEYS = st.sampled_from(
    ["choices", "delta", "index", "finish_reason", "usage", "error", "model", "response", "id", "object", "type", "file",
     "message", "code", "content", "sequence_number", "prompt_tokens", "prompt_tokens_details", "data"]
)  # fmt: skip
LEAVES = st.sampled_from(
    [None, True, 0, -1, 7, 10**30, 1.5, "", "x", "stop", "error", "response", "response.completed", "upload", "\ud83d"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=14,
)
LINES = st.one_of(
    VALUES.map(lambda value: "data: " + json.dumps(value) + "\n\n"),
    VALUES.map(lambda value: "event: error\ndata: " + json.dumps(value, indent=0).replace("\n", "\ndata: ") + "\n\n"),
    st.sampled_from(["data: [DONE]\n\n", "data\n\n", "\n", "\r", ": c\n\n", "event: x\n", '{"mod\\u0065l":"a"}\n\n']),
    st.sampled_from(['data: {"mod\\u0065l":"a","x":"model"}\n\n', 'data: {"model":"a","model":"b"}\n\n']),
)
STREAMS = st.lists(LINES, max_size=6).map(lambda lines: "".join(lines).encode())


@pytest.mark.parametrize("reader", READERS)
@given(stream=st.one_of(STREAMS, st.binary(max_size=40)), places=st.lists(st.integers(0, 999), max_size=4))
@settings(max_examples=300)
def test_no_stream_breaks_its_reader(reader: Callable[[], Answer], stream: bytes, places: list[int]) -> None:
    """Members of any type, keys spelt with escapes, garbage: told as a failure, if it is one."""
    answer = reader()
    passed_and_failure(answer, split_at(stream, places))
    assert answer.sequence >= 0


@pytest.mark.parametrize("reader", READERS)
@given(body=st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
@settings(max_examples=300)
def test_no_body_breaks_its_reader(reader: Callable[[], Answer], body: bytes) -> None:
    """What passes is JSON; what does not is told."""
    try:
        out = reader().whole(body)
    except AnswerFailed:
        return
    assert isinstance(json.loads(out), dict)


ODD: list[object] = [None, True, -1, 10**30, 1.5, "", "x", [], {}, [1], [[]], [{}], {"a": 1}, {"message": []}, [None]]
KNOWN = {
    "": [
        "choices",
        "usage",
        "error",
        "model",
        "response",
        "id",
        "object",
        "type",
        "file",
        "sequence_number",
        "request_id",
    ],
    "choices": ["index", "delta", "finish_reason", "text", "logprobs"],
    "response": ["id", "model", "usage", "status", "error"],
    "usage": [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    ],
    "error": ["message", "type", "code", "param"],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("place", "name"), [(place, name) for place, names in KNOWN.items() for name in names])
def test_a_member_of_any_type_breaks_no_reader(reader: Callable[[], Answer], place: str, name: str) -> None:
    """Each member that is read, with each type that JSON has in its place; before and after the first content."""
    for odd in ODD:
        inner = {"index": 0, "delta": {"content": "x"}, name: odd}
        document = (
            {"type": "response.created", name: odd} if not place else {place: [inner] if place == "choices" else inner}
        )
        event = b"event: x\ndata: " + json.dumps(document).encode() + b"\n\n"
        for pieces in ([event], [b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', event + event]):
            passed_and_failure(reader(), pieces)
        with contextlib.suppress(AnswerFailed):
            reader().whole(json.dumps(document).encode())


@given(body=st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
def test_no_list_of_models_breaks_its_reader(body: bytes) -> None:
    """Names, or a failure."""
    try:
        names = OpenAICompatible("p", "https://p.example", "").models(body)
    except AnswerFailed:
        return
    assert all(names)
