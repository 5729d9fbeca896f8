"""What an honest provider of the Anthropic API would answer: a pure table from request to answer.

The law is that of `answers`: the same requests in the same order get the same bytes. Shapes are those of the API reference
(https://docs.claude.com/en/api/messages, .../build-with-claude/streaming) and are read by the official SDK in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from relay_trio.testing.answers import (
    ARGUMENTS,
    Answer,
    Asked,
    Json,
    Provider,
    Wanted,
    echo,
    encode,
    json_answer,
    listing,
    named_event,
    stream_answer,
    wants_stream,
    words_of,
)

MODELS = ("claude-fake-small", "claude-fake-large")
THOUGHT = "The user wants words."
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
CACHED = 3
"""Tokens that came from the cache; `input_tokens` leaves them out."""


@attrs.define(eq=False)
class AnthropicProvider(Provider):
    """Answers as the Anthropic API does. Give it to a fake upstream as its `provider`."""

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        number = next(self.numbers)
        answer = error_answer(wanted.status) if wanted.status >= 400 else self._answer(asked, wanted, number)
        return attrs.evolve(answer, headers=(*answer.headers, *identity(number)))

    def _answer(self, asked: Asked, wanted: Wanted, number: int) -> Answer:
        if re.search(r"/messages$", asked.path):
            return messages(asked, wanted, number)
        if re.search(r"/messages/count_tokens$", asked.path):
            return json_answer({"input_tokens": input_tokens(asked) + CACHED})
        if re.search(r"/messages/batches$", asked.path) and asked.method == "POST":
            return json_answer(self.keep(batch(number)))
        if re.search(r"/messages/batches/[^/]+$", asked.path):
            value, _ = self.shelf.get(asked.path.rsplit("/", 1)[1], (None, b""))
            return error_answer(404) if value is None else json_answer(value)
        if re.search(r"/models$", asked.path):
            return json_answer(listing([model_object(name) for name in MODELS]))
        return echo(self, asked, wanted, number)


def identity(number: int) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header fields that every answer has."""
    return (
        (b"request-id", b"req_011fake%06d" % number),
        (b"anthropic-ratelimit-requests-remaining", b"4999"),
        (b"anthropic-organization-id", b"org-fake"),
    )


def error_answer(status: int) -> Answer:
    """Return the API's error for this status (https://docs.claude.com/en/api/errors)."""
    return json_answer(error_object(ERRORS.get(status, "api_error"), f"The fake upstream answers {status}."), status)


def error_object(kind: str, message: str) -> Json:
    """Return an error in its envelope."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011fake"}


ERRORS: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def messages(asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST /messages."""
    content, reason = turn(asked, words_of(wanted))
    usage = usage_of(asked, len(words_of(wanted)))
    message: Json = {
        "id": f"msg_01fake{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }
    if wants_stream(asked, wanted):
        return stream_answer(message_events(message, words_of(wanted)))
    return json_answer(message)


def turn(asked: Asked, words: tuple[str, ...]) -> tuple[list[Json], str]:
    """Return the content of the assistant's turn and its stop_reason."""
    fields = asked.fields
    thinking = fields.get("thinking") or {}
    thoughts: list[Json] = []
    if thinking.get("type") in {"enabled", "adaptive"}:
        thoughts = [{"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE}]
    tools = fields.get("tools") or []
    if not tools or (fields.get("tool_choice") or {}).get("type") == "none" or has_result(fields):
        return [*thoughts, {"type": "text", "text": "".join(words)}], "end_turn"
    calls = [
        {"type": "tool_use", "id": f"toolu_01fake{at}", "name": tool["name"], "input": {"city": "Utrecht"}}
        for at, tool in enumerate(tools, start=1)
    ]
    return [*thoughts, *calls], "tool_use"


def has_result(fields: Json) -> bool:
    """Tell whether the last turn brings the results of tools."""
    content = (fields.get("messages") or [{}])[-1].get("content")
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)


def input_tokens(asked: Asked) -> int:
    """Return what the input counts without the cache: a token for each word."""
    return len(str(asked.fields.get("messages") or "").split())


def usage_of(asked: Asked, output: int) -> Json:
    """Return the usage of a message."""
    return {
        "input_tokens": input_tokens(asked),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": CACHED,
        "output_tokens": output,
        "service_tier": "standard",
    }


def message_events(message: Json, words: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the documented sequence of events."""
    opened = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield _event("message_start", {"message": opened})
    yield _event("ping", {})
    for index, block in enumerate(message["content"]):
        start, deltas = block_moves(block, words)
        yield _event("content_block_start", {"index": index, "content_block": start})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ended, "usage": {"output_tokens": message["usage"]["output_tokens"]}})
    yield _event("message_stop", {})


def block_moves(block: Json, words: tuple[str, ...]) -> tuple[Json, list[Json]]:
    """Return how a block begins, and the deltas that fill it."""
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in words]
    if block["type"] == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return start, [thought, {"type": "signature_delta", "signature": block["signature"]}]
    fragments = ("", *ARGUMENTS)  # the API begins with an empty one
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text} for text in fragments]


def _event(name: str, value: Json) -> bytes:
    return named_event(name, {"type": name, **value})


def batch(number: int) -> Json:
    """Return a batch as it is when it was made."""
    return {
        "id": f"msgbatch_01fake{number:06d}",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": None,
        "created_at": "2025-06-15T14:40:00Z",
        "expires_at": "2025-06-16T14:40:00Z",
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }


def model_object(name: str) -> Json:
    """Return one entry of the list of models."""
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-06-15T14:40:00Z"}


def overloaded_event() -> bytes:
    """Return the error that may come in the middle of a stream."""
    return b"event: error\ndata: " + encode(error_object("overloaded_error", "Overloaded")) + b"\n\n"
