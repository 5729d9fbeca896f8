"""Answers of Anthropic's `/messages`, read and written, whole and streamed.

The stream: https://docs.claude.com/en/build-with-claude/streaming. Its blocks come one after the other, never two at a
time. Formats that write several tool calls at once are put in order: the first block is open, the others wait. Of what
Anthropic's own tools did in between, only the words that the model made of it are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.sse import ServerEvent
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
    ToolCall,
    ToolDelta,
    ToolEnded,
    ToolStarted,
)
from adaptors.translation.frame import NO_USAGE, Frame, own_id
from adaptors.translation.messages_content import (
    MAX_CITATIONS,
    ORIGIN,
    read_citation,
    read_citations,
    written_citation,
)
from adaptors.translation.messages_request import parsed_arguments, written_signature, written_thought
from adaptors.values import Usage
from adaptors.wires.anthropic_errors import as_anthropic
from adaptors.wires.anthropic_messages import read_message
from adaptors.wires.anthropic_usage import merged, read_anthropic_usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_stream import decoded_event, incomplete, passed_over

_READ_REASON: Final[dict[str, Reason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool",
    "refusal": "refused",
    "pause_turn": "paused",
}
_WRITTEN_REASON: Final[dict[Reason, str]] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
    "filtered": "refusal",
    "refused": "refusal",
    "paused": "pause_turn",
}
_PREFIX: Final = "msg_"


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _place(document: dict[str, Json]) -> int:
    index = document.get("index")
    return index if type(index) is int else 0


# A stream, read...


class MessagesReader:
    """Reads a provider's stream."""

    __slots__ = ("_begun", "_citations", "_counts", "_inputs", "_length")

    def __init__(self) -> None:
        self._counts: dict[str, Json] = {}
        self._inputs: dict[int, str] = {}
        """The open tool call by its index, with the arguments that it began with if none come after."""
        self._length = 0
        self._begun = 0
        """Characters of all words so far, and of those before the open block."""
        self._citations: list[dict[str, Json]] = []
        """Of the open block. They are of all its words, so they wait for its end."""

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says. Raises AnswerFailed: an error, or garbage."""
        try:
            if event.data is None:
                passed_over(event)
                return []
            return self._event(decoded_event(event, event.data))
        except AnswerFailed as failed:
            raise AnswerFailed(as_anthropic(failed.failure)) from failed

    def end(self) -> list[Event]:
        """Raise AnswerFailed: nothing but message_stop proves the end."""
        raise incomplete()

    def _event(self, document: dict[str, Json]) -> list[Event]:
        match document.get("type"):
            case "content_block_delta":
                return self._delta(_place(document), _object(document.get("delta")))
            case "content_block_start":
                return self._begin(_place(document), _object(document.get("content_block")))
            case "content_block_stop":
                return self._stop(_place(document))
            case "message_start":
                message = _object(document.get("message"))
                started = Started(_text(message.get("id")), _text(message.get("model")))
                return [started, *self._count(message.get("usage"))]
            case "message_delta":
                return [*self._count(document.get("usage")), *_finish(_object(document.get("delta")))]
            case "message_stop":
                return [Ended()]
            case _:
                return []

    def _count(self, usage: Json) -> list[Event]:
        self._counts = merged(self._counts, usage)
        counted = read_anthropic_usage(self._counts)
        return [] if counted is None else [Counted(counted)]

    def _begin(self, index: int, block: dict[str, Json]) -> list[Event]:
        match block.get("type"):
            case "text":
                self._begun = self._length
                self._citations = _citations(block.get("citations"))
                return self._words(_text(block.get("text")))
            case "thinking" if text := _text(block.get("thinking")):
                return [ThinkingDelta(text)]
            case "redacted_thinking":
                return [ThinkingSigned(hidden=_text(block.get("data")), origin=ORIGIN)]
            case "tool_use":
                given = block.get("input")
                self._inputs = {index: encoded(given).decode() if given else ""}
                return [ToolStarted(index, _text(block.get("id")), _text(block.get("name")))]
            case _:
                return []

    def _delta(self, index: int, delta: dict[str, Json]) -> list[Event]:
        match delta.get("type"):
            case "text_delta":
                return self._words(_text(delta.get("text")))
            case "input_json_delta" if (fragment := _text(delta.get("partial_json"))) and index in self._inputs:
                self._inputs[index] = ""
                return [ToolDelta(index, fragment)]
            case "thinking_delta" if text := _text(delta.get("thinking")):
                return [ThinkingDelta(text)]
            case "signature_delta" if signature := _text(delta.get("signature")):
                return [ThinkingSigned(signature, origin=ORIGIN)]
            case "citations_delta" if len(self._citations) < MAX_CITATIONS:
                self._citations.append(_object(delta.get("citation")))
                return []
            case _:
                return []

    def _words(self, text: str) -> list[Event]:
        self._length += len(text)
        return [TextDelta(text)] if text else []

    def _stop(self, index: int) -> list[Event]:
        if self._citations:
            return self._cite()
        given = self._inputs.pop(index, None)
        if given is None:
            return []
        return [*([ToolDelta(index, given)] if given else []), ToolEnded(index)]

    def _cite(self) -> list[Event]:
        citations, self._citations = self._citations, []
        return [Cited(read_citation(cited, self._begun, self._length)) for cited in citations]


def _citations(citations: Json) -> list[dict[str, Json]]:
    items = citations[:MAX_CITATIONS] if isinstance(citations, list) else []
    return [item for item in items if isinstance(item, dict)]


def _finish(delta: dict[str, Json]) -> list[Event]:
    """Return the end, before it why the model declines, if it says so."""
    reason = _READ_REASON.get(_text(delta.get("stop_reason")), "stop")
    sequence = delta.get("stop_sequence")
    finished = Finished(reason, sequence if isinstance(sequence, str) else None)
    why = _explanation(delta)
    return [RefusalDelta(why), finished] if why and reason == "refused" else [finished]


def _explanation(message: dict[str, Json]) -> str:
    """Return why the model declines (https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons)."""
    return _text(_object(message.get("stop_details")).get("explanation"))


# ...and written.


class _Block:
    """A content block of the client's stream: what opens it, what has come of it, and whether more may come."""

    __slots__ = ("arguments", "ended", "kind", "opening", "pending", "started", "tool")

    def __init__(self, kind: str, opening: Json, *, tool: int = -1, ended: bool = False) -> None:
        self.kind = kind
        self.opening = opening
        self.tool = tool
        self.ended = ended
        self.started = False
        self.pending: list[bytes] = []
        self.arguments: list[str] = []

    def may_close(self) -> bool:
        """Whether nothing more can come once another block has begun: arguments are over when they are JSON."""
        if self.ended or self.kind != "tool_use":
            return True
        try:
            return isinstance(decoded("".join(self.arguments).encode("utf-8", "replace")), dict)
        except NotJSON:
            return False


_OF_ALL: Final = (CandidateSwitched, Counted, Ended)
"""Events that are of no candidate alone."""
_BLOCK_BYTES: Final = 512
"""What an open block costs by itself, so that a provider cannot open tool calls without end."""


class MessagesWriter:
    """Writes a client's stream."""

    __slots__ = ("_aside", "_blocks", "_finished", "_frame", "_held", "_index", "_usage")
    sequence = 0
    """Events of this format have no number."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._aside = False
        """Another candidate than the first is told: this format has but one, and nobody asked for more."""
        self._blocks: deque[_Block] = deque()
        self._index = 0
        self._held = 0
        self._finished = Finished("stop")
        self._usage = Usage(input_tokens=frame.input_estimate)

    def write(self, event: Event) -> bytes:  # noqa: C901, PLR0912 - a table of cases
        """Return the bytes that say it, or nothing while they must wait. Raises AnswerFailed: too many wait."""
        if self._aside and not isinstance(event, _OF_ALL):
            return b""
        match event:
            case TextDelta(text) | RefusalDelta(text):
                block = self._last("text", {"type": "text", "text": ""})
                return self._add(block, b'{"type":"text_delta","text":' + encoded(text) + b"}")
            case ThinkingDelta(text):
                block = self._last("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                return self._add(block, b'{"type":"thinking_delta","thinking":' + encoded(text) + b"}")
            case ThinkingSigned():
                return self._sign(event)
            case ToolStarted(index, ident, name):
                opening = {"type": "tool_use", "id": ident, "name": name, "input": {}}
                self._hold(_BLOCK_BYTES + len(ident) + len(name))
                self._blocks.append(_Block("tool_use", opening, tool=index))
                return self._flow()
            case ToolDelta(index, fragment):
                return self._arguments(index, fragment)
            case ToolEnded(index):
                for block in self._blocks:  # none, if its arguments were whole and another block waited
                    block.ended = block.ended or block.tool == index
                return self._flow()
            case Started(ident, model):
                return self._start(ident, model)
            case Counted(usage):
                self._usage = usage
                return b""
            case Finished():
                self._finished = event
                for block in self._blocks:
                    block.ended = True
                return self._flow()
            case Ended():
                return self._end()
            case Cited(citation):
                return self._cite(citation)
            case CandidateSwitched(index):
                self._aside = index != 0
                return b""
            case LogprobsDelta():
                return b""

    def _cite(self, citation: Citation) -> bytes:
        """Say where the newest words come from, if their block is still open: a block that is closed is no more said."""
        if not citation.url or not self._blocks or self._blocks[-1].kind != "text":
            return b""
        cited = encoded({"type": "citations_delta", "citation": written_citation(citation)})
        return self._add(self._blocks[-1], cited)

    def _start(self, ident: str, model: str) -> bytes:
        message = {
            "id": own_id(ident, _PREFIX),
            "type": "message",
            "role": "assistant",
            "model": self._frame.model or model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written_usage(self._usage),
        }
        return _event("message_start", encoded({"type": "message_start", "message": message}))

    def _last(self, kind: str, opening: Json) -> _Block:
        """Return the newest block, if more of this kind goes on in it; else a new one."""
        if not self._blocks or self._blocks[-1].kind != kind or self._blocks[-1].ended:
            self._blocks.append(_Block(kind, opening))
        return self._blocks[-1]

    def _tool(self, index: int) -> _Block:
        """Return the block of a tool call. Raises AnswerFailed: it is closed, since its arguments were whole."""
        for block in self._blocks:
            if block.tool == index:
                return block
        raise AnswerFailed(broken_answer("The provider added to a tool call that was complete."))

    def _arguments(self, index: int, fragment: str) -> bytes:
        if not fragment.strip() and all(block.tool != index for block in self._blocks):
            return b""  # white space after the arguments
        block = self._tool(index)
        block.arguments.append(fragment)
        self._hold(len(fragment))
        return self._add(block, b'{"type":"input_json_delta","partial_json":' + encoded(fragment) + b"}")

    def _sign(self, signed: ThinkingSigned) -> bytes:
        if signed.hidden and signed.origin == ORIGIN:
            block = _Block("redacted_thinking", {"type": "redacted_thinking", "data": signed.hidden}, ended=True)
            self._blocks.append(block)
            return self._flow()
        block = self._last("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        block.ended = True
        return self._add(block, b'{"type":"signature_delta","signature":' + encoded(written_signature(signed)) + b"}")

    # One block after the other

    def _add(self, block: _Block, delta: bytes) -> bytes:
        block.pending.append(delta)
        if block is not self._blocks[0]:
            self._hold(len(delta))
        return self._flow()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._frame.max_bytes:
            raise AnswerFailed(broken_answer("The provider's tool calls are too large to be put in order."))

    def _flow(self) -> bytes:
        """Return what may leave now: all of the first block, and of those behind it as far as blocks are over."""
        written: list[bytes] = []
        while self._blocks:
            block = self._blocks[0]
            self._write_block(block, written)
            if not block.ended and (len(self._blocks) == 1 or not block.may_close()):
                break
            self._blocks.popleft()
            written.append(_event("content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._index))
            self._index += 1
        return written[0] if len(written) == 1 else b"".join(written)

    def _write_block(self, block: _Block, written: list[bytes]) -> None:
        if not block.started:
            block.started = True
            opening = b'{"type":"content_block_start","index":%d,"content_block":' % self._index
            written.append(_event("content_block_start", opening + encoded(block.opening) + b"}"))
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % self._index
        written += [head + delta + b"}\n\n" for delta in block.pending]
        block.pending.clear()

    def _end(self) -> bytes:
        for block in self._blocks:
            block.ended = True
        rest = self._flow()
        ended = {"stop_reason": _WRITTEN_REASON[self._finished.reason], "stop_sequence": self._finished.stop_sequence}
        delta = {"type": "message_delta", "delta": ended, "usage": written_usage(self._usage)}
        return rest + _event("message_delta", encoded(delta)) + _event("message_stop", b'{"type":"message_stop"}')


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def written_usage(usage: Usage) -> Json:
    """Return the counts as this API has them: the input without what came from the cache or went into it."""
    counts: dict[str, Json] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_written_tokens),
        "cache_creation_input_tokens": usage.cache_written_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts


# A whole answer, read...


def read_messages_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises AnswerFailed: it is no message, or an error inside a 200."""
    read_message(body)
    message = _object(decoded(body))
    reason = _READ_REASON.get(_text(message.get("stop_reason")), "stop")
    sequence = message.get("stop_sequence")
    candidate = Candidate(
        parts=tuple(_parts(message, declines=reason == "refused")),
        reason=reason,
        stop_sequence=sequence if isinstance(sequence, str) else None,
    )
    usage = read_anthropic_usage(message.get("usage"))
    return Reply(_text(message.get("id")), _text(message.get("model")), (candidate,), usage)


def _parts(message: dict[str, Json], *, declines: bool) -> Iterator[Part]:
    blocks = message.get("content")
    for block in blocks if isinstance(blocks, list) else ():
        part = _part(block) if isinstance(block, dict) else None
        if part is not None:
            yield part
    if declines and (why := _explanation(message)):
        yield Refusal(why)


def _part(block: dict[str, Json]) -> Part | None:
    match block.get("type"):
        case "text":
            text = _text(block.get("text"))
            return Text(text, read_citations(block.get("citations"), len(text)))
        case "thinking":
            return Thinking(_text(block.get("thinking")), _text(block.get("signature")), origin=ORIGIN)
        case "redacted_thinking":
            return Thinking(hidden=_text(block.get("data")), origin=ORIGIN)
        case "tool_use":
            arguments = encoded(_object(block.get("input"))).decode()
            return ToolCall(_text(block.get("id")), _text(block.get("name")), arguments)
        case _:
            return None


# ...and written.


def write_messages_reply(reply: Reply, frame: Frame) -> bytes:
    """Return the body for the client."""
    return encoded(
        {
            "id": own_id(reply.id, _PREFIX),
            "type": "message",
            "role": "assistant",
            "model": frame.model or reply.model,
            "content": [block for part in reply.first.parts if (block := _block(part)) is not None],
            "stop_reason": _WRITTEN_REASON[reply.first.reason],
            "stop_sequence": reply.first.stop_sequence,
            "usage": written_usage(reply.usage or NO_USAGE),
        }
    )


def _block(part: Part) -> Json:
    match part:
        case Text(text, citations):
            cited = [written_citation(citation) for citation in citations if citation.url]
            return {"type": "text", "text": text} | ({"citations": cited} if cited else {})
        case Refusal(text):
            return {"type": "text", "text": text}
        case Thinking():
            return written_thought(part)
        case ToolCall(ident, name, arguments):
            return {"type": "tool_use", "id": ident, "name": name, "input": parsed_arguments(arguments)}
        case _:
            return None
