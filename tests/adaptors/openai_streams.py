"""Streams as providers write them: the chunks of OpenAI's API reference, in every framing that is met."""

from __future__ import annotations

import importlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import openai

from adaptors.endpoints import match
from adaptors.failure import AnswerFailed
from adaptors.protocol import Answer
from adaptors.values import Call

LIMIT = 1 << 20

# https://platform.openai.com/docs/api-reference/chat/create, example "Streaming", with its ids and finger print
_BASE: dict[str, Any] = {
    "id": "chatcmpl-123",
    "object": "chat.completion.chunk",
    "created": 1694268190,
    "model": "gpt-4o-mini",
    "system_fingerprint": "fp_44709d6fcb",
}
DONE = "[DONE]"


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {**_BASE, "choices": [choice], **more}


USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}
ROLE = chunk({"role": "assistant", "content": ""})
HELLO, TRICKY = chunk({"content": "Hello"}), chunk({"content": '"usage":{"error": [DONE]\n\ndata: {\u2028 "model":"x"'})
STOP = chunk({}, "stop")
USAGE_CHUNK = {**_BASE, "choices": [], "usage": USAGE}


def sse(*events: Any, separators: tuple[str, str] = (",", ":"), head: str = "data: ", end: str = "\n\n") -> bytes:
    """Return the events as a stream; a string goes in as it is."""
    texts = (event if isinstance(event, str) else json.dumps(event, separators=separators) for event in events)
    return "".join(head + text + end for text in texts).encode()


def call(path: bytes = b"/chat/completions", body: bytes = b'{"model":"m","stream":true}', **more: Any) -> Call:
    endpoint = match(b"POST", path)
    assert endpoint is not None
    settings = {"model": "m", "stream": True, **more}
    return Call(endpoint, "openai_chat", b"POST", path, b"", (), body, **settings)


def read(answer: Answer, pieces: list[bytes]) -> bytes:
    """Return all that the client gets of an answer that came in these pieces and ended cleanly."""
    return b"".join(passed for piece in pieces for passed in answer.chunks(piece)) + b"".join(answer.end())


def split_everywhere(stream: bytes) -> Iterator[list[bytes]]:
    """Yield the stream in one piece, byte by byte, and in two pieces cut at every byte."""
    yield [stream]
    yield [bytes([byte]) for byte in stream]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


def passed_and_failure(answer: Answer, pieces: list[bytes]) -> tuple[bytes, AnswerFailed | None]:
    """Return what the client gets of an answer before it fails, or of all of it, and the failure if there is one."""
    passed: list[bytes] = []
    try:
        for piece in pieces:
            passed.extend(answer.chunks(piece))
        passed.extend(answer.end())
    except AnswerFailed as failed:
        return b"".join(passed), failed
    return b"".join(passed), None


def failure_of(answer: Answer, pieces: list[bytes]) -> AnswerFailed | None:
    """Return what the answer fails with, or None."""
    return passed_and_failure(answer, pieces)[1]


# What is no stream at all, and the words by which it is told.
NO_STREAMS = [
    (b'{"error": {"message": "too slow", "code": "rate_limit_exceeded"}}', "too slow"),
    (b'{\n\n "error": {"message": "too slow"}}', "no event"),
    (b'{"choices": [], "object": "chat.completion"}\n', "one JSON body"),
    (b"<html>\n\n<body>Bad gateway</body>", "HTML"),
    (b"<html><body>Bad gateway</body>", "HTML"),
    (b"upstream connect error", "broke off"),
    (b"upstream connect error\n\n", "no event"),
]


def split_at_events(stream: bytes) -> list[bytes]:
    """Return the stream in the pieces in which a quick provider sends it: an event each."""
    return re.split(rb"(?=data:)", stream)


def split_at(stream: bytes, places: list[int]) -> list[bytes]:
    """Return the stream cut at these places, wherever in it they come to lie."""
    cuts = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(cuts)]


def sdk_client(content: bytes, content_type: str = "text/event-stream", status: int = 200) -> openai.OpenAI:
    """Return an official client that gets this answer, by whichever HTTP library its version stands on."""
    http: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    answer = http.Response(status, headers={"content-type": content_type}, content=content)
    transport = http.MockTransport(lambda _: answer)
    return openai.OpenAI(api_key="k", max_retries=0, http_client=http.Client(transport=transport))
