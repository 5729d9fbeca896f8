"""Requests, answers and streams of the Responses API as OpenAI's documents show them, shortened in their texts.

Sources: https://platform.openai.com/docs/api-reference/responses/create (examples "Text input", "Image input", "Functions",
"Reasoning", "Streaming"), .../responses-streaming (the example of each event), .../docs/guides/function-calling ("Streaming",
"Parallel function calling"), .../docs/guides/reasoning ("Encrypted reasoning items", "Reasoning summaries").
"""

from __future__ import annotations

import json
from typing import Any

from openai_streams import call as openai_call

from adaptors.values import Call

Json = dict[str, Any]

RESPONSE: Json = {
    "id": "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654", "object": "response", "created_at": 1741487325,
    "status": "in_progress", "error": None, "incomplete_details": None,
    "instructions": "You are a helpful assistant.", "max_output_tokens": None, "model": "gpt-4.1-2025-04-14", "output": [],
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
    "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
    "top_p": 1.0, "truncation": "disabled", "usage": None, "user": None, "metadata": {},
}  # fmt: skip
USAGE: Json = {
    "input_tokens": 37,
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 48,
    "input_tokens_details": {"cached_tokens": 5},
}
MESSAGE_ID = "msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654"
WHERE: Json = {"item_id": MESSAGE_ID, "output_index": 0, "content_index": 0}


def message(text: str, status: str = "completed", ident: str = MESSAGE_ID, **more: Any) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], **more}
    content = [part] if status != "in_progress" else []
    return {"id": ident, "type": "message", "status": status, "role": "assistant", "content": content}


def function_call(index: int, name: str, arguments: str, status: str = "completed") -> Json:
    return {
        "type": "function_call",
        "id": f"fc_12345xyz{index}",
        "call_id": f"call_12345xyz{index}",
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def reasoning(*summary: str, sealed: str | None = None) -> Json:
    item: Json = {"id": "rs_6876cf02e0bc8192b74af0fb64b715ff06fa2fcced15a5ac", "type": "reasoning", "summary": []}
    item["summary"] = [{"type": "summary_text", "text": text} for text in summary]
    return item if sealed is None else {**item, "encrypted_content": sealed}


def sse(*events: Json, numbered: bool = True) -> bytes:
    """Return the events as a stream, each with its number."""
    written = [{**event, "sequence_number": at} if numbered else event for at, event in enumerate(events)]
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n" for event in written
    ).encode()


def opened(**more: Any) -> tuple[Json, Json]:
    response = {**RESPONSE, **more}
    return {"type": "response.created", "response": response}, {"type": "response.in_progress", "response": response}


def ended(status: str, *output: Json, **more: Any) -> Json:
    response = {**RESPONSE, "status": status, "output": list(output), "usage": USAGE, **more}
    return {"type": f"response.{status}", "response": response}


def item_events(index: int, item: Json, *between: Json, added: Json | None = None) -> tuple[Json, ...]:
    """Return an item's own events, with those between its opening and its end."""
    shell = added or {**item, "status": "in_progress"}
    return (
        {"type": "response.output_item.added", "output_index": index, "item": shell},
        *between,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    )


def delta(kind: str, text: str, **where: Any) -> Json:
    return {"type": f"response.{kind}.delta", **where, "delta": text}


def words(*pieces: str, index: int = 0) -> tuple[Json, ...]:
    """Return the events of a message of text."""
    text, where = "".join(pieces), {**WHERE, "output_index": index}
    part = {"type": "output_text", "text": "", "annotations": []}
    return item_events(
        index,
        message(text),
        {"type": "response.content_part.added", **where, "part": part},
        *(delta("output_text", piece, **where, logprobs=[]) for piece in pieces),
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": {**part, "text": text}},
        added=message("", "in_progress"),
    )


def call_opened(index: int, name: str) -> Json:
    item = function_call(index, name, "", "in_progress")
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def call_delta(index: int, text: str) -> Json:
    return delta("function_call_arguments", text, item_id=f"fc_12345xyz{index}", output_index=index)


def call_done(index: int, name: str, arguments: str) -> tuple[Json, Json]:
    item = function_call(index, name, arguments)
    where = {"item_id": item["id"], "output_index": index}
    done = {"type": "response.function_call_arguments.done", **where, "arguments": arguments}
    return done, {"type": "response.output_item.done", "output_index": index, "item": item}


SEALED = "gAAAAABofs0CLEKsZPkNqgWbVg=="


def thought(*parts: str, sealed: str | None = SEALED) -> tuple[Json, ...]:
    """Return the events of a reasoning item, its summary part by part."""
    item = reasoning(*parts, sealed=sealed)
    between: list[Json] = []
    for at, text in enumerate(parts):
        where = {"item_id": item["id"], "output_index": 0, "summary_index": at}
        part = {"type": "summary_text", "text": text}
        between += [
            {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}},
            delta("reasoning_summary_text", text[:5], **where),
            delta("reasoning_summary_text", text[5:], **where),
            {"type": "response.reasoning_summary_text.done", **where, "text": text},
            {"type": "response.reasoning_summary_part.done", **where, "part": part},
        ]
    return item_events(0, item, *between, added=reasoning(sealed=None))


BOSTON = '{"location":"Boston, MA","unit":"celsius"}'
REFUSED = {"type": "refusal", "refusal": "I'm sorry, I cannot assist with that request."}
REFUSAL_ITEM = {**message(""), "content": [REFUSED]}

STREAMS: dict[str, bytes] = {
    "words": sse(
        *opened(), *words("Hi", "!", " How can I assist you today?"), ended("completed", message("Hi! How can I assist you today?"))
    ),
    "thought, words": sse(
        *opened(), *thought("**Saying hello**", "They greet."), *words("Hello", index=1), ended("completed")
    ),
    "thought, call": sse(
        *opened(), *thought("**Looking it up**"), call_opened(1, "get_current_weather"), call_delta(1, BOSTON[:9]),
        call_delta(1, BOSTON[9:]), *call_done(1, "get_current_weather", BOSTON), ended("completed"),
    ),
    "calls interleaved": sse(
        *opened(), call_opened(0, "a"), call_delta(0, '{"x"'), call_opened(1, "b"), call_delta(1, "{}"), call_delta(0, ":1}"),
        *call_done(1, "b", "{}"), *call_done(0, "a", '{"x":1}'), ended("completed"),
    ),
    "refusal": sse(
        *opened(),
        *item_events(
            0, REFUSAL_ITEM,
            {"type": "response.content_part.added", **WHERE, "part": {"type": "refusal", "refusal": ""}},
            delta("refusal", "I'm sorry, ", **WHERE), delta("refusal", "I cannot assist with that request.", **WHERE),
            {"type": "response.refusal.done", **WHERE, "refusal": REFUSED["refusal"]},
            {"type": "response.content_part.done", **WHERE, "part": REFUSED},
            added=message("", "in_progress"),
        ),
        ended("completed", REFUSAL_ITEM),
    ),
    "too long": sse(
        *opened(), *words("Hi"), ended("incomplete", incomplete_details={"reason": "max_output_tokens"})
    ),
    "a web search": sse(
        *opened(),
        *item_events(0, {"type": "web_search_call", "id": "ws_67c9fa0502748190b7dd390736892e100be649c1a5ff9609", "status": "completed"},
                     {"type": "response.web_search_call.in_progress", "output_index": 0, "item_id": "ws_123"},
                     {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_123"},
                     {"type": "response.web_search_call.completed", "output_index": 0, "item_id": "ws_123"}),
        {"type": "response.something.new", "delta": "?"},
        *words("As of today", index=1), ended("completed"),
    ),
}  # fmt: skip


def call(body: bytes = b'{"model":"m","input":"hi","stream":true}', **more: Any) -> Call:
    return openai_call(b"/responses", body, **more)
