"""What an honest provider of the Responses API would answer that reasons and calls tools: a pure table, as in `answers`.

Shapes are those of the API reference (https://platform.openai.com/docs/api-reference/responses-streaming, and
.../docs/guides/reasoning for the sealed reasoning items) and are read by the official SDK in the tests.
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
    identified,
    json_answer,
    named_event,
    output_item,
    response_object,
    stream_answer,
    text_part,
    unfinished,
    wants_stream,
    words_of,
)

SUMMARY = "**Weighing the question**"
SEALED = "gAAAAABofake0CLEKsZPkNqgWbVgKnu1z0mFw=="
"""What only the provider itself can read."""
CACHED = 2


@attrs.define(eq=False)
class ResponsesProvider(Provider):
    """Answers `/responses` as a reasoning model of OpenAI's does. Give it to a fake upstream as its `provider`."""

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        if wanted.status >= 400 or asked.method != "POST" or not re.search(r"/responses$", asked.path):
            return super().answer(asked, wanted)
        number = next(self.numbers)
        words = words_of(wanted)
        ident = f"resp_{number:06d}"
        done = response_object(asked, ident, words)
        done["output"] = list(output(asked, ident, words))
        done["store"] = asked.fields.get("store", True)
        done["usage"]["input_tokens_details"] = {"cached_tokens": CACHED}
        answer = stream_answer(events(done, words)) if wants_stream(asked, wanted) else json_answer(done)
        return identified(answer, number)


def output(asked: Asked, ident: str, words: tuple[str, ...]) -> Iterator[Json]:
    """Yield the items of the answer: a thought if one was asked for, then a call of each tool, or words."""
    fields = asked.fields
    if (fields.get("reasoning") or {}).get("effort") not in {None, "none"}:
        item: Json = {"id": ident.replace("resp_", "rs_"), "type": "reasoning"}
        item["summary"] = [{"type": "summary_text", "text": SUMMARY}]
        if "reasoning.encrypted_content" in (fields.get("include") or ()):
            item["encrypted_content"] = SEALED
        yield item
    tools = fields.get("tools") or []
    if not tools or fields.get("tool_choice") == "none" or has_result(fields):
        yield output_item(ident, words)
        return
    for at, tool in enumerate(tools, start=1):
        yield {
            "id": f"{ident.replace('resp_', 'fc_')}_{at}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_fake_{at}",
            "name": tool["name"],
            "arguments": "".join(ARGUMENTS),
        }


def has_result(fields: Json) -> bool:
    """Tell whether the conversation ends in the results of tools."""
    items = fields.get("input")
    return isinstance(items, list) and bool(items) and items[-1].get("type") == "function_call_output"


def events(done: Json, words: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the documented sequence of events; of calls that are made together the arguments come in turns."""
    for sequence, (name, body) in enumerate(_moves(done, words)):
        yield named_event(name, {"type": name, "sequence_number": sequence, **body})


def _moves(done: Json, words: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    started = {"response": unfinished(done, "in_progress")}
    yield "response.created", started
    yield "response.in_progress", started
    calls = [(at, item) for at, item in enumerate(done["output"]) if item["type"] == "function_call"]
    for index, item in enumerate(done["output"]):
        if item["type"] == "reasoning":
            yield from _thought_moves(index, item)
        elif item["type"] == "message":
            yield from _message_moves(index, item, words)
    for index, item in calls:
        yield (
            "response.output_item.added",
            {"output_index": index, "item": {**item, "status": "in_progress", "arguments": ""}},
        )
    for fragment in ARGUMENTS if calls else ():
        for index, item in calls:
            place = {"item_id": item["id"], "output_index": index}
            yield "response.function_call_arguments.delta", {**place, "delta": fragment}
    for index, item in calls:
        place = {"item_id": item["id"], "output_index": index}
        yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": done}


def _thought_moves(index: int, item: Json) -> Iterator[tuple[str, Json]]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": SUMMARY}
    yield "response.output_item.added", {"output_index": index, "item": {**item, "summary": []}}
    yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
    yield "response.reasoning_summary_text.delta", {**place, "delta": SUMMARY}
    yield "response.reasoning_summary_text.done", {**place, "text": SUMMARY}
    yield "response.reasoning_summary_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _message_moves(index: int, item: Json, words: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    place, text = {"item_id": item["id"], "output_index": index, "content_index": 0}, "".join(words)
    yield (
        "response.output_item.added",
        {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
    )
    yield "response.content_part.added", {**place, "part": text_part("")}
    for word in words:
        yield "response.output_text.delta", {**place, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": text_part(text)}
    yield "response.output_item.done", {"output_index": index, "item": item}
