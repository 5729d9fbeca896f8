"""Answers of `/chat/completions`, read and written, whole and streamed.

The stream: https://platform.openai.com/docs/api-reference/chat-streaming. A provider may leave out the index of a tool
call, its id, or the final `[DONE]`; reasoning comes as `reasoning_content` (DeepSeek, xAI, vLLM) or `reasoning`
(OpenRouter).
"""

from __future__ import annotations

from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.sse import ServerEvent
from adaptors.translation.carrier import packed
from adaptors.translation.chat_request import written_call
from adaptors.translation.conversation import (
    Candidate,
    CandidateSwitched,
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
    ToolCall,
    ToolDelta,
    ToolEnded,
    ToolStarted,
)
from adaptors.translation.frame import NO_USAGE, Frame, own_id
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_json import read_document
from adaptors.wires.openai_stream import decoded_event, incomplete, passed_over
from adaptors.wires.openai_usage import read_usage

_READ_REASON: Final[dict[str, Reason]] = {
    "length": "length",
    "tool_calls": "tool",
    "function_call": "tool",
    "content_filter": "filtered",
}
_WRITTEN_REASON: Final[dict[Reason, str]] = {
    "length": "length",
    "tool": "tool_calls",
    "filtered": "content_filter",
    "refused": "content_filter",
}
_PREFIX: Final = "chatcmpl-"
_MAX_CALLS: Final = 1024
"""More calls than any provider allows in one turn (OpenAI: 128 tools)."""
_MAX_CARRIED: Final = 256 * 1024
"""Characters of thought that an id carries: more than the largest budget of 64,000 tokens fills."""


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _reason(said: Json, *, refused: bool) -> Reason:
    return "refused" if refused else _READ_REASON.get(_text(said), "stop")


# A stream, read...


class ChatReader:
    """Reads a provider's stream."""

    __slots__ = ("_calls", "_finished", "_places", "_refused", "_started")

    def __init__(self) -> None:
        self._started = False
        self._finished = False
        self._refused = False
        self._calls = 0
        self._places: dict[int, tuple[int, str]] = {}
        """By the provider's index: ours, and the id; a second id at one index is a second call."""

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says. Raises AnswerFailed: an error, or garbage."""
        if event.data is None:
            passed_over(event)
            return []
        if event.data == b"[DONE]":
            return [Ended()]
        return self._chunk(decoded_event(event, event.data))

    def end(self) -> list[Event]:
        """Return the end, which a finish_reason proves too. Raises AnswerFailed: there was none."""
        if not self._finished:
            raise incomplete()
        return [Ended()]

    def _chunk(self, chunk: dict[str, Json]) -> list[Event]:
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(Started(_text(chunk.get("id")), _text(chunk.get("model"))))
        for choice in _objects(chunk.get("choices")):
            if choice.get("index") in {0, None}:
                self._choice(choice, events)
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            events.append(Counted(usage))
        return events

    def _choice(self, choice: dict[str, Json], events: list[Event]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, events)
        if reason := choice.get("finish_reason"):
            self._finished = True
            events.append(Finished(_reason(reason, refused=self._refused)))

    def _delta(self, delta: dict[str, Json], events: list[Event]) -> None:
        if thought := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            events.append(ThinkingDelta(thought))
        if text := _text(delta.get("content")):
            events.append(TextDelta(text))
        if refusal := _text(delta.get("refusal")):
            self._refused = True
            events.append(RefusalDelta(refusal))
        for at, call in enumerate(_objects(delta.get("tool_calls"))):
            self._call(at, call, events)

    def _call(self, at: int, call: dict[str, Json], events: list[Event]) -> None:
        index, call_id = call.get("index"), _text(call.get("id"))
        index = index if type(index) is int else at
        function = _object(call.get("function"))
        known = self._places.get(index)
        if known is None or (call_id and call_id != known[1]):
            known = self._begin(index, call_id, _text(function.get("name")), events)
        if fragment := _text(function.get("arguments")):
            events.append(ToolDelta(known[0], fragment))

    def _begin(self, index: int, call_id: str, name: str, events: list[Event]) -> tuple[int, str]:
        if self._calls >= _MAX_CALLS:
            raise AnswerFailed(broken_answer(f"The provider's answer holds more than {_MAX_CALLS} tool calls."))
        place = self._places[index] = (self._calls, call_id or f"call_{self._calls}")
        self._calls += 1
        events.append(ToolStarted(*place, name))
        return place


# ...and written.


class ChatWriter:
    """Writes a client's stream."""

    __slots__ = ("_calls", "_frame", "_head", "_tail", "_thought", "_thoughts", "_usage")

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._head = b""
        self._tail = b',"usage":null}\n\n' if frame.include_usage else b"}\n\n"
        self._calls: dict[int, tuple[int, list[bool]]] = {}
        """By the reader's index: the client's, and whether arguments have come."""
        self._thought: list[str] = []
        self._thoughts: list[Thinking] = []
        self._usage = NO_USAGE

    def write(self, event: Event) -> bytes:  # noqa: C901 - a table of cases
        """Return the bytes that say it."""
        match event:
            case TextDelta(text):
                return self._chunk(b'{"content":' + encoded(text) + b"}")
            case ToolDelta(index, fragment):
                return self._arguments(index, fragment)
            case RefusalDelta(text):
                return self._chunk(b'{"refusal":' + encoded(text) + b"}")
            case ThinkingDelta(text):
                self._thought.append(text)
                return self._chunk(b'{"reasoning_content":' + encoded(text) + b"}")
            case ThinkingSigned(signature, hidden, origin):
                self._thoughts.append(Thinking("".join(self._thought), signature, hidden, origin))
                self._thought.clear()
                return b""
            case Started(ident, model):
                return self._start(ident, model)
            case ToolStarted(index, ident, name):
                return self._begin_call(index, ident, name)
            case ToolEnded(index):
                return b"" if any(self._calls[index][1]) else self._arguments(index, "{}")
            case Counted(usage):
                self._usage = usage
                return b""
            case Finished(reason):
                return self._chunk(b"{}", encoded(_WRITTEN_REASON.get(reason, "stop")))
            case Ended():
                return self._end()
            case CandidateSwitched() | Cited() | LogprobsDelta():
                return b""

    def _start(self, ident: str, model: str) -> bytes:
        envelope = {
            "id": own_id(ident, _PREFIX),
            "object": "chat.completion.chunk",
            "created": self._frame.created,
            "model": self._frame.model or model,
        }
        self._head = b"data: " + encoded(envelope)[:-1] + b',"choices":['
        return self._chunk(b'{"role":"assistant","content":""}')

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":' + delta + b',"logprobs":null,"finish_reason":' + reason + b"}]"
        return self._head + choice + self._tail

    def _begin_call(self, index: int, ident: str, name: str) -> bytes:
        place = len(self._calls)
        self._calls[index] = (place, [])
        call = written_call(ToolCall(self._carrying(ident), name, ""))
        call["function"]["arguments"] = ""
        return self._chunk(encoded({"tool_calls": [{"index": place, **call}]}))

    def _carrying(self, ident: str) -> str:
        """Return the id with the thoughts since the last call in it, unless they are too long for any id."""
        thoughts, self._thoughts = self._thoughts, []
        long = sum(len(thought.text) for thought in thoughts) > _MAX_CARRIED
        return ident if long else packed(ident, thoughts)

    def _arguments(self, index: int, fragment: str) -> bytes:
        place, come = self._calls[index]
        if not come:
            come.append(True)
        call = {"index": place, "function": {"arguments": fragment}}
        return self._chunk(b'{"tool_calls":[' + encoded(call) + b"]}")

    def _end(self) -> bytes:
        counted = self._head + b'],"usage":' + encoded(written_usage(self._usage)) + b"}\n\n"
        return (counted if self._frame.include_usage else b"") + b"data: [DONE]\n\n"


def written_usage(usage: Usage) -> Json:
    """Return the counts as this API has them."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


# A whole answer, read...


def read_chat_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises AnswerFailed: it is no completion, or an error inside a 200."""
    document = read_document(body)
    try:
        choice = next(iter(_objects(decoded(bytes(document.choices) or b"[]"))), None)
    except NotJSON:
        choice = None
    if choice is None:
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no completion."))
    message = _object(choice.get("message"))
    refusal = _text(message.get("refusal"))
    candidate = Candidate(
        parts=tuple(_parts(message, refusal)), reason=_reason(choice.get("finish_reason"), refused=bool(refusal))
    )
    return Reply(_text(document.id), _text(document.model), (candidate,), read_usage(document.usage))


def _parts(message: dict[str, Json], refusal: str) -> list[Part]:
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    parts: list[Part] = [Thinking(thought)] if thought else []
    if text := _text(message.get("content")):
        parts.append(Text(text))
    if refusal:
        parts.append(Refusal(refusal))
    for at, call in enumerate(_objects(message.get("tool_calls"))):
        function = _object(call.get("function"))
        arguments = _text(function.get("arguments"))
        parts.append(ToolCall(_text(call.get("id")) or f"call_{at}", _text(function.get("name")), arguments))
    return parts


# ...and written.


def write_chat_reply(reply: Reply, frame: Frame) -> bytes:
    """Return the body for the client."""
    choice = {
        "index": 0,
        "message": _message(reply.first.parts),
        "logprobs": None,
        "finish_reason": _WRITTEN_REASON.get(reply.first.reason, "stop"),
    }
    return encoded(
        {
            "id": own_id(reply.id, _PREFIX),
            "object": "chat.completion",
            "created": frame.created,
            "model": frame.model or reply.model,
            "choices": [choice],
            "usage": written_usage(reply.usage or NO_USAGE),
        }
    )


def _message(parts: tuple[Part, ...]) -> Json:
    text = "".join(part.text for part in parts if isinstance(part, Text))
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    thought = "".join(part.text for part in parts if isinstance(part, Thinking))
    calls: list[Json] = []
    thoughts: list[Thinking] = []
    for part in parts:
        if isinstance(part, Thinking):
            thoughts.append(part)
        elif isinstance(part, ToolCall):
            calls.append(written_call(ToolCall(packed(part.id, thoughts), part.name, part.arguments)))
            thoughts.clear()
    message: dict[str, Json] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if not text and not calls and not refusal:
        message["content"] = ""
    return message | ({"reasoning_content": thought} if thought else {}) | ({"tool_calls": calls} if calls else {})
