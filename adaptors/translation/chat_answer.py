"""Answers of `/chat/completions`, read and written, whole and streamed.

The stream: https://platform.openai.com/docs/api-reference/chat-streaming. A provider may leave out the index of a tool
call, its id, or the final `[DONE]`; reasoning comes as `reasoning_content` (DeepSeek, xAI, vLLM) or `reasoning`
(OpenRouter). Several choices come in turns, chunk by chunk; each has a finish_reason of its own.
"""

from __future__ import annotations

from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.sse import ServerEvent
from adaptors.translation.carrier import fits, packed
from adaptors.translation.chat_content import read_annotations, written_annotation, written_annotations
from adaptors.translation.chat_request import written_call
from adaptors.translation.conversation import (
    Candidate,
    CandidateSwitched,
    Citation,
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
from adaptors.translation.frame import NO_USAGE, Frame, own_id
from adaptors.translation.logprobs import read_tokens, written_tokens
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
    "paused": "length",
}
"""A pause is no end: like a limit it says that more was to come."""
_PREFIX: Final = "chatcmpl-"
_MAX_CALLS: Final = 1024
"""More calls than any provider allows in one turn (OpenAI: 128 tools)."""
_MAX_CHOICES: Final = 128
"""The largest `n` that OpenAI takes."""
_MAX_SOURCES: Final = 1024
"""Addresses of sources that are told; searches find some dozens."""


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _reason(said: Json, *, refused: bool) -> Reason:
    return "refused" if refused else _READ_REASON.get(_text(said), "stop")


def _read_logprobs(logprobs: Json) -> tuple[TokenLogprob, ...]:
    if not isinstance(logprobs, dict):
        return ()
    return read_tokens(logprobs.get("content")) + read_tokens(logprobs.get("refusal"))


def _written_logprobs(tokens: tuple[TokenLogprob, ...]) -> Json:
    return {"content": written_tokens(tokens), "refusal": None} if tokens else None


# A stream, read...


class ChatReader:
    """Reads a provider's stream."""

    __slots__ = ("_calls", "_choice", "_finished", "_places", "_refused", "_sources", "_started")

    def __init__(self) -> None:
        self._started = False
        self._choice = 0
        self._finished: dict[int, bool] = {}
        """By the index of each choice that has begun: whether it has ended."""
        self._refused: set[int] = set()
        self._calls = 0
        self._places: dict[tuple[int, int], tuple[int, str]] = {}
        """By the choice and the provider's index: ours, and the id; a second id at one index is a second call."""
        self._sources: dict[str, bool] = {}
        """Addresses that stand beside the choices: whether they have been told."""

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says. Raises AnswerFailed: an error, or garbage."""
        if event.data is None:
            passed_over(event)
            return []
        if event.data == b"[DONE]":
            return [Ended()]
        return self._chunk(decoded_event(event, event.data))

    def end(self) -> list[Event]:
        """Return the end, which a finish_reason for every choice proves too. Raises AnswerFailed: there was none."""
        if not self._finished or not all(self._finished.values()):
            raise incomplete()
        return [Ended()]

    def _chunk(self, chunk: dict[str, Json]) -> list[Event]:
        events: list[Event] = []
        if not self._started and chunk.get("id") != "":  # Azure's first chunk tells of the prompt's filter alone
            self._started = True
            events.append(Started(_text(chunk.get("id")), _text(chunk.get("model"))))
        for citation in _sources(chunk.get("citations")):
            if len(self._sources) < _MAX_SOURCES:
                self._sources.setdefault(citation.url, False)
        for choice in _objects(chunk.get("choices")):
            self._one(choice, events)
        if self._sources and any(self._finished.values()):
            self._cite(events)
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            events.append(Counted(usage))
        return events

    def _cite(self, events: list[Event]) -> None:
        """Tell the addresses that xAI names at the end, and Perplexity in each chunk: once each, behind all words."""
        events += [Cited(Citation(url)) for url, told in self._sources.items() if not told]
        self._sources = dict.fromkeys(self._sources, True)

    def _one(self, choice: dict[str, Json], events: list[Event]) -> None:
        index = choice.get("index") or 0
        if index != self._choice:
            self._switch(index, events)
        self._finished.setdefault(self._choice, False)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, events)
        if tokens := _read_logprobs(choice.get("logprobs")):
            events.append(LogprobsDelta(tokens))
        if reason := choice.get("finish_reason"):
            self._cite(events)
            self._finished[self._choice] = True
            events.append(Finished(_reason(reason, refused=self._choice in self._refused)))

    def _switch(self, index: Json, events: list[Event]) -> None:
        if type(index) is not int or not 0 <= index < _MAX_CHOICES:
            raise AnswerFailed(broken_answer(f"The provider's answer has a choice of the number {index!r:.20}."))
        self._choice = index
        events.append(CandidateSwitched(index))

    def _delta(self, delta: dict[str, Json], events: list[Event]) -> None:
        if thought := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            events.append(ThinkingDelta(thought))
        if text := _text(delta.get("content")):
            events.append(TextDelta(text))
        if refusal := _text(delta.get("refusal")):
            self._refused.add(self._choice)
            events.append(RefusalDelta(refusal))
        if annotations := delta.get("annotations"):
            events += map(Cited, read_annotations(annotations))
        for at, call in enumerate(_objects(delta.get("tool_calls"))):
            self._call(at, call, events)

    def _call(self, at: int, call: dict[str, Json], events: list[Event]) -> None:
        index, call_id = call.get("index"), _text(call.get("id"))
        place = self._choice, index if type(index) is int else at
        function = _object(call.get("function"))
        known = self._places.get(place)
        if known is None or (call_id and call_id != known[1]):
            known = self._begin(place, call_id, _text(function.get("name")), events)
        if fragment := _text(function.get("arguments")):
            events.append(ToolDelta(known[0], fragment))

    def _begin(self, place: tuple[int, int], call_id: str, name: str, events: list[Event]) -> tuple[int, str]:
        if self._calls >= _MAX_CALLS:
            raise AnswerFailed(broken_answer(f"The provider's answer holds more than {_MAX_CALLS} tool calls."))
        known = self._places[place] = (self._calls, call_id or f"call_{self._calls}")
        self._calls += 1
        events.append(ToolStarted(*known, name))
        return known


def _sources(sources: Json) -> list[Citation]:
    return [Citation(source) for source in sources if isinstance(source, str)] if isinstance(sources, list) else []


# ...and written.


class _Choice:
    """One choice of the client's stream: what its chunks begin with, its calls, and thoughts that await a call."""

    __slots__ = ("calls", "head", "thought", "thoughts")

    def __init__(self, index: int) -> None:
        self.head = b'{"index":%d,"delta":' % index
        self.calls = 0
        self.thought: list[str] = []
        self.thoughts: list[Thinking] = []


class ChatWriter:
    """Writes a client's stream."""

    __slots__ = ("_calls", "_choice", "_choices", "_frame", "_head", "_tail", "_usage")
    sequence = 0
    """Events of this format have no number."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._head = b""
        self._tail = b',"usage":null}\n\n' if frame.include_usage else b"}\n\n"
        self._choice = _Choice(0)
        self._choices = {0: self._choice}
        """By the reader's index, which it bounds."""
        self._calls: dict[int, tuple[int, list[bool]]] = {}
        """By the reader's index: the place in its choice, and whether arguments have come."""
        self._usage = NO_USAGE

    def write(self, event: Event) -> bytes:  # noqa: C901, PLR0912 - a table of cases
        """Return the bytes that say it."""
        match event:
            case TextDelta(text):
                return self._chunk(b'{"content":' + encoded(text) + b"}")
            case ToolDelta(index, fragment):
                return self._arguments(index, fragment)
            case RefusalDelta(text):
                return self._chunk(b'{"refusal":' + encoded(text) + b"}")
            case ThinkingDelta(text):
                self._choice.thought.append(text)
                return self._chunk(b'{"reasoning_content":' + encoded(text) + b"}")
            case ThinkingSigned():
                return self._sign(event)
            case Started(ident, model):
                return self._start(ident, model)
            case CandidateSwitched(index):
                return self._switch(index)
            case ToolStarted(index, ident, name):
                return self._begin_call(index, ident, name)
            case ToolEnded(index):
                return b"" if any(self._calls[index][1]) else self._arguments(index, "{}")
            case Cited(citation):
                cited = encoded({"annotations": [written_annotation(citation, 0)]})
                return self._chunk(cited) if citation.url else b""
            case LogprobsDelta(tokens):
                return self._chunk(b"{}", logprobs=encoded(_written_logprobs(tokens)))
            case Counted(usage):
                self._usage = usage
                return b""
            case Finished(reason):
                return self._chunk(b"{}", encoded(_WRITTEN_REASON.get(reason, "stop")))
            case Ended():
                return self._end()

    def _start(self, ident: str, model: str) -> bytes:
        envelope = {
            "id": own_id(ident, _PREFIX),
            "object": "chat.completion.chunk",
            "created": self._frame.created,
            "model": self._frame.model or model,
        }
        self._head = b"data: " + encoded(envelope)[:-1] + b',"choices":['
        return self._chunk(_OPENING)

    def _switch(self, index: int) -> bytes:
        known = self._choices.get(index)
        if known is not None:
            self._choice = known
            return b""
        self._choice = self._choices[index] = _Choice(index)
        return self._chunk(_OPENING)

    def _chunk(self, delta: bytes, reason: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        choice = self._choice.head + delta + b',"logprobs":' + logprobs + b',"finish_reason":' + reason + b"}]"
        return self._head + choice + self._tail

    def _sign(self, signed: ThinkingSigned) -> bytes:
        choice = self._choice
        choice.thoughts.append(Thinking("".join(choice.thought), signed.signature, signed.hidden, signed.origin))
        choice.thought.clear()
        return b""

    def _begin_call(self, index: int, ident: str, name: str) -> bytes:
        place = self._choice.calls
        self._choice.calls += 1
        self._calls[index] = (place, [])
        call = written_call(ToolCall(self._carrying(ident), name, ""))
        call["function"]["arguments"] = ""
        return self._chunk(encoded({"tool_calls": [{"index": place, **call}]}))

    def _carrying(self, ident: str) -> str:
        """Return the id with the thoughts since the last call in it, unless they are too long for any id."""
        thoughts, self._choice.thoughts = self._choice.thoughts, []
        return packed(ident, thoughts) if fits(thoughts) else ident

    def _arguments(self, index: int, fragment: str) -> bytes:
        place, come = self._calls[index]
        if not come:
            come.append(True)
        call = {"index": place, "function": {"arguments": fragment}}
        return self._chunk(b'{"tool_calls":[' + encoded(call) + b"]}")

    def _end(self) -> bytes:
        counted = self._head + b'],"usage":' + encoded(written_usage(self._usage)) + b"}\n\n"
        return (counted if self._frame.include_usage else b"") + b"data: [DONE]\n\n"


_OPENING: Final = b'{"role":"assistant","content":""}'


def written_usage(usage: Usage) -> Json:
    """Return the counts as this API has them."""
    written = {"cache_write_tokens": usage.cache_written_tokens} if usage.cache_written_tokens else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


# A whole answer, read...


def read_chat_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises AnswerFailed: it is no completion, or an error inside a 200."""
    document = read_document(body)
    try:
        choices = _objects(decoded(bytes(document.choices) or b"[]"))[:_MAX_CHOICES]
    except NotJSON:
        choices = []
    if not choices:
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no completion."))
    sources = _named_sources(body)
    candidates = tuple(_candidate(choice, sources) for choice in sorted(choices, key=_index))
    return Reply(_text(document.id), _text(document.model), candidates, read_usage(document.usage))


def _index(choice: dict[str, Json]) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _named_sources(body: bytes) -> tuple[Citation, ...]:
    """Return the addresses that xAI and Perplexity name beside the choices."""
    if b'"citations"' not in body:
        return ()
    return tuple(_sources(_object(decoded(body)).get("citations"))[:_MAX_SOURCES])


def _candidate(choice: dict[str, Json], sources: tuple[Citation, ...]) -> Candidate:
    message = _object(choice.get("message"))
    refusal = _text(message.get("refusal"))
    return Candidate(
        parts=tuple(_parts(message, refusal, sources)),
        reason=_reason(choice.get("finish_reason"), refused=bool(refusal)),
        logprobs=_read_logprobs(choice.get("logprobs")),
    )


def _parts(message: dict[str, Json], refusal: str, sources: tuple[Citation, ...]) -> list[Part]:
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    parts: list[Part] = [Thinking(thought)] if thought else []
    if text := _text(message.get("content")):
        parts.append(Text(text, read_annotations(message.get("annotations")) or sources))
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
    return encoded(
        {
            "id": own_id(reply.id, _PREFIX),
            "object": "chat.completion",
            "created": frame.created,
            "model": frame.model or reply.model,
            "choices": [_written_choice(at, candidate) for at, candidate in enumerate(reply.candidates)],
            "usage": written_usage(reply.usage or NO_USAGE),
        }
    )


def _written_choice(index: int, candidate: Candidate) -> Json:
    return {
        "index": index,
        "message": _message(candidate.parts),
        "logprobs": _written_logprobs(candidate.logprobs),
        "finish_reason": _WRITTEN_REASON.get(candidate.reason, "stop"),
    }


def _message(parts: tuple[Part, ...]) -> Json:
    text, annotations = _cited_text(parts)
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    thought = "".join(part.text for part in parts if isinstance(part, Thinking))
    calls = _calls(parts)
    message: dict[str, Json] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if not text and not calls and not refusal:
        message["content"] = ""
    rest = {"annotations": annotations, "reasoning_content": thought, "tool_calls": calls}
    return message | {name: value for name, value in rest.items() if value}


def _cited_text(parts: tuple[Part, ...]) -> tuple[str, list[Json]]:
    """Return the words of all parts as one, and where they come from."""
    text = ""
    annotations: list[Json] = []
    for part in parts:
        if isinstance(part, Text):
            annotations += written_annotations(part.citations, len(text))
            text += part.text
    return text, annotations


def _calls(parts: tuple[Part, ...]) -> list[Json]:
    """Return the calls, each with the thoughts before it in its id."""
    calls: list[Json] = []
    thoughts: list[Thinking] = []
    for part in parts:
        if isinstance(part, Thinking):
            thoughts.append(part)
        elif isinstance(part, ToolCall):
            calls.append(written_call(ToolCall(packed(part.id, thoughts), part.name, part.arguments)))
            thoughts.clear()
    return calls
