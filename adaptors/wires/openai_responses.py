"""`/responses`, from an OpenAI-like provider to an OpenAI client: bytes pass, meaning is watched.

A Responses stream is a row of named events, each with a `sequence_number`
(https://platform.openai.com/docs/api-reference/responses-streaming). Those that carry a `response` object matter: the
opening ones (created, queued, in_progress) and the terminal ones (completed, incomplete, failed). The others are pieces
of the answer, and a block of them goes on undecoded: a few searches tell that every event is an `event:` line and one
`data: {...}` line, that none holds the key `response`, and that none is an error.

A stream is complete with a terminal event, and with nothing else. `response.failed` is one: it is the truth about the
response, so it reaches the client unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, encoded, member_span, with_member
from adaptors.sse import ServerEvent, SSEParser
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_json import read_document, renamed, text
from adaptors.wires.openai_stream import decoded_event, incomplete, last_event, passed_over, whole_events, with_data
from adaptors.wires.openai_usage import read_usage

OPENING: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
TERMINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\s*[,}]')


def is_plain(block: bytes) -> bool:
    """Whether each event of the block is an `event:` line and one line `data: {...}`.

    Proof by counting, as for chat: n seams part n + 1 events, as many lines begin with `data: {`, and there are three
    line feeds for each event, so no other line exists. CRLF goes the long way.
    """
    if not block.startswith(b"event: ") or not block.endswith(b"}\n\n") or b"\r" in block:
        return False
    events = block.count(b"}\n\nevent: ") + 1
    return block.count(b"\ndata: {") == events and block.count(b"\n") == 3 * events


class ResponsesAnswer:
    """Reads one answer of the Responses API, streamed or whole. A state machine for one attempt."""

    __slots__ = ("_last", "_model", "_parser", "complete", "content_seen", "stored_id", "usage")

    def __init__(self, *, model: str | None, max_event_bytes: int) -> None:
        """Make a reader; `model` is the client's name of the model where it is not the provider's, else None."""
        self._model = None if model is None else encoded(model)
        self._parser = SSEParser(max_event_bytes)
        self._last = b""
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None

    @property
    def sequence(self) -> int:
        """The number that the stream's next event would carry; looked for only when it is asked for."""
        last = max(map(int, _SEQUENCE.findall(self._last)), default=-1)
        return last + 1

    # A stream, block by block...

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the whole events among these bytes. Raises AnswerFailed: an error event, garbage, one too large."""
        block = whole_events(self._parser, data)
        if self.content_seen and is_plain(block) and b'"response"' not in block and b'"error"' not in block:
            self._last = block
            yield block
        else:
            yield from self._watched(block)

    # ...event by event, where something may matter...

    def _watched(self, block: bytes) -> Iterator[bytes]:
        for event in self._parser.events(block):
            if self.complete:
                yield event.raw
            elif event.data is None:
                yield passed_over(event)
            else:
                yield self._event(event, event.data)

    def _event(self, event: ServerEvent, data: bytes) -> bytes:
        document = decoded_event(event, data)
        kind = text(document.get("type")) or event.name.decode("utf-8", "replace")
        if kind not in OPENING:
            self.content_seen = True
        if "sequence_number" in document:
            self._last = data
        response = document.get("response")
        if not isinstance(response, dict):
            return event.raw
        self._note(response)
        self.complete = kind in TERMINAL
        return self._renamed(event, data, response)

    def _note(self, response: dict[str, Json]) -> None:
        self.stored_id = self.stored_id or text(response.get("id"))
        self.usage = read_usage(response.get("usage")) or self.usage

    def _renamed(self, event: ServerEvent, data: bytes, response: dict[str, Json]) -> bytes:
        if self._model is None or not isinstance(response.get("model"), str):
            return event.raw
        try:
            return with_data(event, _with_model_inside(data, self._model))
        except NotJSON as error:
            raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error

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
        """Return the body, the model renamed. Raises AnswerFailed: no JSON object, or an error inside a 200."""
        document = read_document(body)
        self.usage = read_usage(document.usage)
        self.stored_id = text(document.id)
        self.content_seen = self.complete = True
        return renamed(body, document, None if self._model is None else msgspec.json.decode(self._model, type=str))


def _with_model_inside(data: bytes, model: bytes) -> bytes:
    """Return the event with the model of its `response` changed, and no other byte."""
    span = member_span(data, "response")
    if span is None:
        return data
    response = data[slice(*span)]
    return data[: span[0]] + with_member(response, "model", model) + data[span[1] :]
