"""`/messages`, from the Anthropic API to a client of it: bytes pass, meaning is watched.

A stream is a row of named events (https://docs.claude.com/en/build-with-claude/streaming): `message_start`, for each block
`content_block_start`, `content_block_delta`s and `content_block_stop`, then `message_delta` and `message_stop`; a `ping`
may come anywhere, an `error` too. Until the first piece of content each event is decoded. After it a block of events is
decoded only if it holds `message_` in a name or a type, or the key `error`; a text that holds them by accident costs a
decode and changes nothing.

A stream is complete with `message_stop`, and with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import UNREADABLE, Json, NotJSON, encoded, member_span, with_member
from adaptors.sse import ServerEvent, SSEParser
from adaptors.values import Usage
from adaptors.wires.anthropic_errors import as_anthropic
from adaptors.wires.anthropic_usage import merged, read_anthropic_usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_json import JSONAnswer, read_document, text
from adaptors.wires.openai_responses import is_plain
from adaptors.wires.openai_stream import decoded_event, incomplete, last_event, passed_over, whole_events, with_data

OPENING: Final = frozenset({"message_start", "content_block_start", "ping"})
"""What tells nothing yet: a block that has only begun is empty, or is followed by its end."""
_MARKS: Final = (b'"message_', b"event: message_", b'"error"', b"event: error")


class MessagesAnswer:
    """Reads one answer to `/messages`, streamed or whole. A state machine for one attempt."""

    __slots__ = ("_counts", "_model", "_parser", "complete", "content_seen", "sequence", "stored_id", "usage")

    def __init__(self, *, model: str | None, max_event_bytes: int) -> None:
        """Make a reader; `model` is the client's name of the model where it is not the provider's, else None."""
        self._model = None if model is None else encoded(model)
        self._parser = SSEParser(max_event_bytes)
        self._counts: dict[str, Json] = {}
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None
        self.sequence = 0

    # A stream, block by block...

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the whole events among these bytes. Raises AnswerFailed: an error event, garbage, one too large."""
        if self.complete:
            return  # what follows message_stop is not part of the answer
        block = whole_events(self._parser, data)
        if self.content_seen and is_plain(block) and not any(mark in block for mark in _MARKS):
            yield block
        else:
            yield from self._watched(block)

    # ...event by event, where something may matter...

    def _watched(self, block: bytes) -> Iterator[bytes]:
        for event in self._parser.events(block):
            try:
                passed = passed_over(event) if event.data is None else self._event(event, event.data)
            except AnswerFailed as failed:
                raise AnswerFailed(as_anthropic(failed.failure)) from failed
            yield passed
            if self.complete:
                return

    def _event(self, event: ServerEvent, data: bytes) -> bytes:
        document = decoded_event(event, data)
        kind = text(document.get("type")) or event.name.decode("utf-8", "replace")
        if kind not in OPENING:
            self.content_seen = True
        if kind == "message_start":
            return self._started(event, data, document.get("message"))
        if kind == "message_delta":
            self._count(document.get("usage"))
        self.complete = kind == "message_stop"
        return event.raw

    def _started(self, event: ServerEvent, data: bytes, message: Json) -> bytes:
        if not isinstance(message, dict):
            return event.raw
        self._count(message.get("usage"))
        if self._model is None or not isinstance(message.get("model"), str):
            return event.raw
        try:
            return with_data(event, _with_model_inside(data, self._model))
        except NotJSON as error:
            raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error

    def _count(self, usage: Json) -> None:
        self._counts = merged(self._counts, usage)
        self.usage = read_anthropic_usage(self._counts)

    # ...and its end.

    def end(self) -> Iterator[bytes]:
        """Yield the last event, if only its empty line is missing. Raises AnswerFailed unless the stream is complete."""
        if self.complete:
            return
        yield from self._watched(last_event(self._parser.rest))
        if not self.complete:
            raise incomplete()

    # Or the answer in one piece.

    def whole(self, body: bytes) -> bytes:
        """Return the body, the model renamed. Raises AnswerFailed: no message, or an error inside a 200."""
        message = read_message(body)
        self.usage = read_anthropic_usage(message.usage)
        self.content_seen = self.complete = True
        if self._model is None or not isinstance(message.model, str):
            return body
        try:
            return with_member(body, "model", self._model)
        except NotJSON as error:
            raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error


class Message(msgspec.Struct):
    """What the relay looks at in a whole message; the content is stepped over, not decoded."""

    type: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None
    content: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(Message).decode


def read_message(body: bytes) -> Message:
    """Return what stands in a whole 2xx body. Raises AnswerFailed: it is no message, or it is an error."""
    try:
        message = _decode(body)
    except UNREADABLE:
        message = Message(error=True)
    if message.error or message.type == "error":
        message = _read_long_way(body)
    if not message.content:
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no message."))
    return message


def _read_long_way(body: bytes) -> Message:
    """Read what msgspec refuses and others take, or say why it is no answer."""
    try:
        document = read_document(body)
    except AnswerFailed as failed:
        raise AnswerFailed(as_anthropic(failed.failure)) from failed
    return Message(model=document.model, usage=document.usage, content=msgspec.Raw(body))


class CountedAnswer(JSONAnswer):
    """Reads an answer of the API that is one JSON object: counted tokens, a batch, a file."""

    def whole(self, body: bytes) -> bytes:
        """Return the body. Raises AnswerFailed: not a JSON object, or an error inside a 200."""
        try:
            return super().whole(body)
        except AnswerFailed as failed:
            raise AnswerFailed(as_anthropic(failed.failure)) from failed


def _with_model_inside(data: bytes, model: bytes) -> bytes:
    """Return the event with the model of its `message` changed, and no other byte."""
    span = member_span(data, "message")
    if span is None:
        return data
    message = data[slice(*span)]
    return data[: span[0]] + with_member(message, "model", model) + data[span[1] :]
