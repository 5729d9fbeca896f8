"""Answers of `/responses`, written: what they are made of, and a whole one. `responses_writer` writes streams.

A thought that must come back to its provider stands sealed in `encrypted_content`, where this API keeps its own, whether or
not the client asked for it there: nothing is stored from which it could be had by its id. It also goes along in the id of
the call that it led to, for clients that send calls and results back and drop what they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import fits, packed, sealed
from adaptors.translation.conversation import Part, Reason, Refusal, Reply, Text, Thinking, ToolCall
from adaptors.translation.frame import NO_USAGE, Frame, own_id
from adaptors.translation.logprobs import written_tokens
from adaptors.translation.responses_content import written_words
from adaptors.values import Usage

_PREFIX: Final = "resp_"
_MAX_STEM: Final = 48
"""Ids of items stay under the 64 characters that OpenAI reads, also where the provider's own id is long."""

_INCOMPLETE: Final[dict[Reason, str]] = {
    "length": "max_output_tokens",
    "filtered": "content_filter",
    "refused": "content_filter",
}


def why_incomplete(reason: Reason, *, refused: bool) -> str | None:
    """Return why the answer is not whole, or None. A refusal in words is a whole answer."""
    return None if reason == "refused" and refused else _INCOMPLETE.get(reason)


# What answers are made of, whole and streamed.


def message_item(ident: str, status: str, content: list[Json]) -> Json:
    """Return words of the model's, with their parts."""
    return {"id": ident, "type": "message", "status": status, "role": "assistant", "content": content}


def reasoning_item(ident: str, thought: Thinking) -> Json:
    """Return a thought: what may be seen of it, and all of it for its provider."""
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    item: Json = {"id": ident, "type": "reasoning", "summary": summary}
    if thought.signature or thought.hidden:
        item["encrypted_content"] = sealed([thought])
    return item


def call_item(ident: str, status: str, call: ToolCall) -> Json:
    """Return a call of a tool."""
    return {
        "id": ident,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def carrying(ident: str, thoughts: list[Thinking]) -> str:
    """Return the id of a call with the thoughts in it, unless they are too long for any id."""
    return packed(ident, thoughts) if fits(thoughts) else ident


def written_usage(usage: Usage) -> Json:
    """Return the counts as this API has them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_written_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class Envelope:
    """The response object around the items: it is repeated thrice in a stream, so its parts are encoded once."""

    __slots__ = ("_head", "_tail", "stem")

    def __init__(self, frame: Frame, ident: str, model: str) -> None:
        own = own_id(ident, _PREFIX)
        self.stem = own.removeprefix(_PREFIX)[-_MAX_STEM:]
        head = {"id": own, "object": "response", "created_at": frame.created, "error": None}
        self._head = encoded(head)[:-1]
        self._tail = b"," + encoded({"model": frame.model or model, **frame.echo})[1:]

    def unfinished(self) -> bytes:
        """Return the object as it is before anything is there."""
        return self._with(b'"in_progress"', b"null", b"", b"null")

    def finished(self, items: Iterable[bytes], usage: Usage, incomplete: str | None) -> bytes:
        """Return the object with all that is in it."""
        counted = encoded(written_usage(usage))
        if incomplete is None:
            return self._with(b'"completed"', b"null", b",".join(items), counted)
        return self._with(b'"incomplete"', encoded({"reason": incomplete}), b",".join(items), counted)

    def _with(self, status: bytes, why: bytes, items: bytes, usage: bytes) -> bytes:
        return b'%b,"status":%b,"incomplete_details":%b,"output":[%b],"usage":%b%b' % (
            *(self._head, status, why, items, usage, self._tail),
        )


# A whole answer, written.


def write_responses_reply(reply: Reply, frame: Frame) -> bytes:
    """Return the body for the client."""
    envelope = Envelope(frame, reply.id, reply.model)
    refused = any(isinstance(part, Refusal) for part in reply.first.parts)
    incomplete = why_incomplete(reply.first.reason, refused=refused)
    items = list(_items(reply, envelope.stem))
    if incomplete is not None and items and "status" in items[-1]:
        items[-1]["status"] = "incomplete"  # what broke off
    return envelope.finished(map(encoded, items), reply.usage or NO_USAGE, incomplete)


def _items(reply: Reply, stem: str) -> Iterator[Json]:
    logprobs = written_tokens(reply.first.logprobs)
    thoughts: list[Thinking] = []
    for index, parts in enumerate(_grouped(reply.first.parts)):
        first = parts[0]
        if isinstance(first, Thinking):
            thoughts.append(first)
            yield reasoning_item(f"rs_{stem}_{index}", first)
        elif isinstance(first, ToolCall):
            call = ToolCall(carrying(first.id, thoughts), first.name, first.arguments or "{}")
            thoughts = []
            yield call_item(f"fc_{stem}_{index}", "completed", call)
        else:
            yield message_item(f"msg_{stem}_{index}", "completed", list(_content(parts, logprobs)))
            logprobs = []


def _grouped(parts: tuple[Part, ...]) -> Iterator[list[Part]]:
    """Yield the parts as items have them: words that stand together are one."""
    group: list[Part] = []
    for part in parts:
        if isinstance(part, Text | Refusal):
            group.append(part)
            continue
        if group:
            yield group
            group = []
        if isinstance(part, Thinking | ToolCall):
            yield [part]
    if group:
        yield group


def _content(parts: list[Part], logprobs: list[Json]) -> Iterator[Json]:
    """Yield the parts of a message. How likely the tokens were is told of an answer as a whole, so of its first words."""
    for part in parts:
        if isinstance(part, Text):
            yield {**written_words(part), "logprobs": logprobs}
            logprobs = []
        elif isinstance(part, Refusal):
            yield written_words(part)
