"""Answers of a provider's `/responses`, read, whole and streamed.

The stream: https://platform.openai.com/docs/api-reference/responses-streaming. Events that are not known are passed over:
there are families of them for tools of OpenAI's own. Some servers leave out deltas and tell an item whole when it is done;
what has not been told by then is told from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.sse import ServerEvent
from adaptors.translation.conversation import (
    Candidate,
    Cited,
    Counted,
    Ended,
    Event,
    Finished,
    LogprobsDelta,
    Part,
    Reason,
    Refusal,
    RefusalDelta,
    Reply,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSigned,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    ToolEnded,
    ToolStarted,
)
from adaptors.translation.logprobs import read_tokens
from adaptors.translation.responses_content import ORIGIN, citation_of
from adaptors.wires.openai_errors import broken_answer, error_inside
from adaptors.wires.openai_json import read_document
from adaptors.wires.openai_stream import decoded_event, incomplete, passed_over
from adaptors.wires.openai_usage import read_usage

_MAX_ITEMS: Final = 4096
"""More items than any answer has; a provider cannot open them without end."""
_BETWEEN_THOUGHTS: Final = "\n\n"
"""A summary comes in parts, each a paragraph with a heading."""


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _place(document: dict[str, Json], name: str = "output_index") -> int:
    index = document.get(name)
    return index if type(index) is int else 0


def _reason(response: dict[str, Json], *, called: bool, refused: bool) -> Reason:
    """Return why the model stopped, which this API does not say of an answer that is whole."""
    if response.get("status") == "incomplete":
        why = _object(response.get("incomplete_details")).get("reason")
        return "filtered" if why == "content_filter" else "length"
    return "tool" if called else "refused" if refused else "stop"


def _failed(response: dict[str, Json]) -> AnswerFailed:
    """Return the failure that a response says it is."""
    error = response.get("error")
    failure = error_inside({"error": error}, b"") if isinstance(error, dict) and error else None
    return AnswerFailed(failure or broken_answer("The provider's response failed, and does not say why."))


class ResponsesReader:
    """Reads a provider's stream."""

    __slots__ = ("_called", "_items", "_origin", "_refused", "_started")

    def __init__(self, origin: str = ORIGIN) -> None:
        """Make a reader; `origin` is whose the thoughts are that only the provider can read."""
        self._origin = origin
        self._started = False
        self._called = False
        self._refused = False
        self._items: dict[int, set[int]] = {}
        """The open items by their places, with the parts of which deltas have come."""

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says. Raises AnswerFailed: an error, or garbage."""
        if event.data is None:
            passed_over(event)
            return []
        if event.data == b"[DONE]":  # some servers send it here too, after the end or instead of nothing
            return []
        document = decoded_event(event, event.data)
        kind = _text(document.get("type")) or event.name.decode("utf-8", "replace")
        if kind == "response.output_text.delta":
            return self._words(document)
        read = _EVENTS.get(kind)
        return [] if read is None else list(read(self, document))

    def end(self) -> list[Event]:
        """Raise AnswerFailed: nothing but a terminal event proves the end."""
        raise incomplete()

    def _words(self, document: dict[str, Json]) -> list[Event]:
        text = _text(document.get("delta"))
        self._note(_place(document), _place(document, "content_index"))
        events: list[Event] = [TextDelta(text)] if text else []
        if document.get("logprobs"):
            events.append(LogprobsDelta(read_tokens(document["logprobs"])))
        return events

    def _note(self, index: int, part: int) -> None:
        told = self._items.get(index)
        if told is None:
            if len(self._items) >= _MAX_ITEMS:
                raise AnswerFailed(broken_answer(f"The provider's answer holds more than {_MAX_ITEMS} items."))
            told = self._items[index] = set()
        if len(told) < _MAX_ITEMS:
            told.add(part)

    def _begin(self, document: dict[str, Json]) -> Iterator[Event]:
        response = _object(document.get("response"))
        if not self._started:
            self._started = True
            yield Started(_text(response.get("id")), _text(response.get("model")))

    def _refusal(self, document: dict[str, Json]) -> Iterator[Event]:
        self._refused = True
        self._note(_place(document), _place(document, "content_index"))
        if text := _text(document.get("delta")):
            yield RefusalDelta(text)

    def _thought(self, document: dict[str, Json]) -> Iterator[Event]:
        index, part = _place(document), _place(document, "summary_index") or _place(document, "content_index")
        text = _text(document.get("delta"))
        if text:
            told = self._items.get(index)
            yield ThinkingDelta(_BETWEEN_THOUGHTS + text if told and part not in told else text)
            self._note(index, part)

    def _cited(self, document: dict[str, Json]) -> Iterator[Event]:
        citation = citation_of(document.get("annotation"))
        if citation is not None:
            yield Cited(citation)

    # Calls, and items as a whole

    def _item_added(self, document: dict[str, Json]) -> Iterator[Event]:
        item = _object(document.get("item"))
        if item.get("type") == "function_call":
            yield from self._call_begun(_place(document), item)

    def _call_begun(self, index: int, item: dict[str, Json]) -> Iterator[Event]:
        self._called = True
        self._note(index, -1)
        yield ToolStarted(index, _text(item.get("call_id")) or f"call_{index}", _text(item.get("name")))

    def _arguments(self, document: dict[str, Json]) -> Iterator[Event]:
        index, fragment = _place(document), _text(document.get("delta"))
        if fragment and index in self._items:
            self._note(index, 0)
            yield ToolDelta(index, fragment)

    def _item_done(self, document: dict[str, Json]) -> Iterator[Event]:
        index, item = _place(document), _object(document.get("item"))
        told = self._items.get(index)
        match item.get("type"):
            case "function_call":
                if told is None:
                    yield from self._call_begun(index, item)
                arguments = _text(item.get("arguments"))
                if arguments and 0 not in self._items[index]:
                    yield ToolDelta(index, arguments)
                yield ToolEnded(index)
            case "reasoning":
                yield from _thought_done(_thinking(item, self._origin), shown=told is not None)
            case "message" if told is None:
                yield from self._message_done(item)
            case _:
                pass
        self._items.pop(index, None)

    def _message_done(self, item: dict[str, Json]) -> Iterator[Event]:
        for part in _message_parts(item):
            if isinstance(part, Text):
                yield TextDelta(part.text)
                yield from (Cited(citation) for citation in part.citations)
            else:
                self._refused = True
                yield RefusalDelta(part.text)

    # The end

    def _ended(self, document: dict[str, Json]) -> Iterator[Event]:
        response = _object(document.get("response"))
        if response.get("status") == "failed":
            raise _failed(response)
        yield from self._begin(document)
        usage = read_usage(response.get("usage"))
        if usage is not None:
            yield Counted(usage)
        yield Finished(_reason(response, called=self._called, refused=self._refused))
        yield Ended()

    def _ended_badly(self, document: dict[str, Json]) -> Iterator[Event]:
        raise _failed(_object(document.get("response")))
        yield Ended()  # a generator, as the others


def _thought_done(thought: Thinking, *, shown: bool) -> Iterator[Event]:
    """Yield the end of a thought: its text where no deltas came, and what only its provider can read."""
    if thought.text and not shown:
        yield ThinkingDelta(thought.text)
    if thought.hidden:
        yield ThinkingSigned(hidden=thought.hidden, origin=thought.origin)


def _thinking(item: dict[str, Json], origin: str) -> Thinking:
    parts = _objects(item.get("summary")) or _objects(item.get("content"))
    text = _BETWEEN_THOUGHTS.join(filter(None, (_text(part.get("text")) for part in parts)))
    hidden = _text(item.get("encrypted_content"))
    return Thinking(text, hidden=hidden, origin=origin if hidden else "")


def _message_parts(item: dict[str, Json]) -> Iterator[Text | Refusal]:
    for part in _objects(item.get("content")):
        if part.get("type") == "refusal":
            yield Refusal(_text(part.get("refusal")))
        elif text := _text(part.get("text")):
            notes = (citation_of(note) for note in _objects(part.get("annotations")))
            yield Text(text, tuple(note for note in notes if note is not None))


_EVENTS: Final[dict[str, Callable[[ResponsesReader, dict[str, Json]], Iterator[Event]]]] = {
    "response.created": ResponsesReader._begin,  # noqa: SLF001 - the table of this class's own readers
    "response.in_progress": ResponsesReader._begin,  # noqa: SLF001
    "response.function_call_arguments.delta": ResponsesReader._arguments,  # noqa: SLF001
    "response.output_item.added": ResponsesReader._item_added,  # noqa: SLF001
    "response.output_item.done": ResponsesReader._item_done,  # noqa: SLF001
    "response.reasoning_summary_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.reasoning_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.refusal.delta": ResponsesReader._refusal,  # noqa: SLF001
    "response.output_text.annotation.added": ResponsesReader._cited,  # noqa: SLF001
    "response.completed": ResponsesReader._ended,  # noqa: SLF001
    "response.incomplete": ResponsesReader._ended,  # noqa: SLF001
    "response.failed": ResponsesReader._ended_badly,  # noqa: SLF001
}


# A whole answer.


def read_responses_reply(body: bytes, origin: str = ORIGIN) -> Reply:
    """Return what a whole answer says. Raises AnswerFailed: it is no response, or one that failed."""
    read_document(body)
    try:
        response = _object(decoded(body))
    except NotJSON:
        response = {}
    status = _text(response.get("status"))
    if status in {"failed", "cancelled"}:
        raise _failed(response)
    if not isinstance(response.get("output"), list) or status in {"queued", "in_progress"}:
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no finished response."))
    parts = tuple(part for at, item in enumerate(_objects(response["output"])) for part in _parts(at, item, origin))
    called = any(isinstance(part, ToolCall) for part in parts)
    refused = any(isinstance(part, Refusal) for part in parts)
    told = _reason(response, called=called, refused=refused)
    candidate = Candidate(parts, told, logprobs=tuple(_all_logprobs(response["output"])))
    return Reply(
        _text(response.get("id")), _text(response.get("model")), (candidate,), read_usage(response.get("usage"))
    )


def _parts(at: int, item: dict[str, Json], origin: str) -> Iterator[Part]:
    match item.get("type"):
        case "message":
            yield from _message_parts(item)
        case "function_call":
            call_id = _text(item.get("call_id")) or f"call_{at}"
            yield ToolCall(call_id, _text(item.get("name")), _text(item.get("arguments")))
        case "reasoning":
            thought = _thinking(item, origin)
            if thought != Thinking():
                yield thought
        case _:
            pass


def _all_logprobs(items: Json) -> Iterator[TokenLogprob]:
    for item in _objects(items):
        for part in _objects(item.get("content")):
            yield from read_tokens(part.get("logprobs"))
