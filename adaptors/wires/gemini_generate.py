"""`:generateContent` and `:streamGenerateContent`, from the Gemini API to a client of it: bytes pass, meaning is watched.

Each event of a stream is a whole answer with the next piece of text, and with the tokens so far
(https://ai.google.dev/api/generate-content). No event says that it is the last: a stream is complete with a finishReason
for every candidate, or with a blockReason, and a clean end. After the first event, a block in which no finishReason, no
blockReason and no error stands goes on undecoded; its tokens are read when somebody asks for them.

A client that does not say `alt=sse` gets one JSON array, whose elements come one by one. The provider is asked for events
all the same, since only they can be watched; each event's JSON becomes an element unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded, with_member
from adaptors.sse import ServerEvent, SSEParser, parsed, raw_events
from adaptors.values import Call, Usage
from adaptors.wires.gemini_errors import as_gemini
from adaptors.wires.openai_chat import plain_events
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_json import JSONAnswer, read_document
from adaptors.wires.openai_stream import decoded_event, incomplete, last_event, passed_over, whole_events, with_data

_MARKS: Final = (b'"finishReason"', b'"blockReason"', b'"error"')
_MAX_CANDIDATES: Final = 64
"""How many candidates are kept account of; the API allows 8."""


class GenerateAnswer:
    """Reads one answer of the Gemini API, streamed or whole. A state machine for one attempt."""

    __slots__ = (
        "_array",
        "_blocked",
        "_candidates",
        "_finished",
        "_last",
        "_model",
        "_parser",
        "complete",
        "content_seen",
        "sequence",
        "stored_id",
    )

    def __init__(self, call: Call, *, model: str | None, max_event_bytes: int, array: bool = False) -> None:
        """Make a reader.

        `model` is the client's name of the model where it is not the provider's. `array`: the client gets a JSON array.
        """
        self._candidates = candidates_asked_for(call) if call.stream else 1
        self._model = None if model is None else encoded(model)
        self._array = array
        self._parser = SSEParser(max_event_bytes)
        self._finished: set[int] = set()
        self._blocked = False
        self._last = b""
        self.content_seen = False
        self.complete = False
        self.stored_id: str | None = None
        self.sequence = 0
        """How many elements of an array have been yielded."""

    @property
    def usage(self) -> Usage | None:
        """The tokens that the last event has counted."""
        for raw in reversed(list(raw_events(self._last))):
            try:
                document = decoded(parsed(raw).data or raw)
            except NotJSON:
                continue
            if isinstance(document, dict) and (usage := read_gemini_usage(document.get("usageMetadata"))) is not None:
                return usage
        return None

    # A stream, block by block...

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the whole events among these bytes. Raises AnswerFailed: an error event, garbage, one too large."""
        block = whole_events(self._parser, data)
        if self.content_seen and not self._array and self._model is None and _may_pass(block):
            self._keep(block)
            yield block
        else:
            yield from self._watched(block)

    def _keep(self, block: bytes) -> None:
        if b'"usageMetadata"' in block:
            self._last = block

    # ...event by event, where something may matter...

    def _watched(self, block: bytes) -> Iterator[bytes]:
        for event in self._parser.events(block):
            if event.data is not None:
                yield self._event(event, event.data)
            elif passed := self._passed_over(event):
                yield passed

    def _passed_over(self, event: ServerEvent) -> bytes:
        try:
            passed = passed_over(event)
        except AnswerFailed as failed:
            raise AnswerFailed(as_gemini(failed.failure, event.raw)) from failed
        return b"" if self._array else passed

    def _event(self, event: ServerEvent, data: bytes) -> bytes:
        try:
            document = decoded_event(event, data)
        except AnswerFailed as failed:
            raise AnswerFailed(as_gemini(failed.failure, data)) from failed
        self._note(document)
        self._keep(event.raw)
        renamed = self._renamed(data, document)
        if self._array:
            self.sequence += 1
            return (b",\r\n" if self.sequence > 1 else b"[") + renamed
        return event.raw if renamed is data else with_data(event, renamed)

    def _note(self, document: dict[str, Json]) -> None:
        feedback = document.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = True
        candidates = document.get("candidates")
        for at, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
            if isinstance(candidate, dict) and candidate.get("finishReason") and len(self._finished) < _MAX_CANDIDATES:
                index = candidate.get("index", at)
                self._finished.add(index if type(index) is int else at)
        self.content_seen = True

    def _renamed(self, data: bytes, document: dict[str, Json]) -> bytes:
        if self._model is None or not isinstance(document.get("modelVersion"), str):
            return data
        try:
            return with_member(data, "modelVersion", self._model)
        except NotJSON as error:
            raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error

    # ...and its end.

    def end(self) -> Iterator[bytes]:
        """Yield the last event, if only its empty line is missing. Raises AnswerFailed unless the stream is complete."""
        rest = self._parser.rest
        yield from self._watched(last_event(rest))
        if not self._blocked and len(self._finished) < self._candidates:
            raise incomplete()
        self.complete = True
        if self._array:
            yield b"]"
        elif not rest.strip():
            yield rest  # the last byte of a CR LF that came in two pieces

    # Or the answer in one piece.

    def whole(self, body: bytes) -> bytes:
        """Return the body, the model renamed. Raises AnswerFailed: no answer, or an error inside a 200."""
        try:
            read_document(body)
        except AnswerFailed as failed:
            raise AnswerFailed(as_gemini(failed.failure, body)) from failed
        document = decoded(body)
        if not ("candidates" in document or "promptFeedback" in document):
            raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no generated content."))
        self._last = body
        self.content_seen = self.complete = True
        return self._renamed(body, document)


def _may_pass(block: bytes) -> bool:
    return plain_events(block) > 0 and not any(mark in block for mark in _MARKS)


def candidates_asked_for(call: Call) -> int:
    """Return how many candidates the answer must have. Names are written without escapes by every encoder."""
    body = call.body or b"{}"
    if b'"candidateCount"' not in body:
        return 1
    try:
        request = decoded(body)
    except NotJSON:
        return 1
    config = request.get("generationConfig") if isinstance(request, dict) else None
    count = config.get("candidateCount") if isinstance(config, dict) else None
    return count if type(count) is int and count > 0 else 1


def read_gemini_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usageMetadata`: what tools were told is input, what was thought is output."""
    if not isinstance(usage, dict):
        return None
    thoughts = _count(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        cached_tokens=_count(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def _count(usage: dict[str, Json], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and value > 0 else 0


class GeminiJSONAnswer(JSONAnswer):
    """Reads an answer of the API that is one JSON object: counted tokens, embeddings."""

    def whole(self, body: bytes) -> bytes:
        """Return the body. Raises AnswerFailed: not a JSON object, or an error inside a 200."""
        try:
            return super().whole(body)
        except AnswerFailed as failed:
            raise AnswerFailed(as_gemini(failed.failure, body)) from failed
