"""Answers of `/responses`, read and written, whole and streamed.

The stream: https://platform.openai.com/docs/api-reference/responses-streaming. Every event has a number. An answer is a list
of items, each opened, filled and closed by events of its own; several may be open at once, so calls of tools that a
provider writes at the same time keep their places. The last event repeats all items, so what was written is kept, within
the limit of one event.

A thought that must come back to its provider stands sealed in `encrypted_content`, where this API keeps its own, whether or
not the client asked for it there: nothing is stored from which it could be had by its id. It also goes along in the id of
the call that it led to, for clients that send calls and results back and drop what they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import packed, sealed
from adaptors.translation.conversation import (
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
from adaptors.translation.logprobs import written_tokens
from adaptors.translation.responses_content import written_citation, written_words
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer

_PREFIX: Final = "resp_"
_MAX_CARRIED: Final = 256 * 1024
"""Characters of thought that an id carries: more than the largest budget of 64,000 tokens fills."""
_MAX_STEM: Final = 48
"""Ids of items stay under the 64 characters that OpenAI reads, also where the provider's own id is long."""

_INCOMPLETE: Final[dict[Reason, str]] = {
    "length": "max_output_tokens",
    "filtered": "content_filter",
    "refused": "content_filter",
}


def _incomplete(reason: Reason, *, refused: bool) -> str | None:
    """Return why the answer is not whole, or None. A refusal in words is a whole answer."""
    return None if reason == "refused" and refused else _INCOMPLETE.get(reason)


# What answers are made of, whole and streamed.


def _message(ident: str, status: str, content: list[Json]) -> Json:
    return {"id": ident, "type": "message", "status": status, "role": "assistant", "content": content}


def _reasoning(ident: str, thought: Thinking) -> Json:
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    item: Json = {"id": ident, "type": "reasoning", "summary": summary}
    if thought.signature or thought.hidden:
        item["encrypted_content"] = sealed([thought])
    return item


def _function_call(ident: str, status: str, call: ToolCall) -> Json:
    return {
        "id": ident,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _carrying(ident: str, thoughts: list[Thinking]) -> str:
    """Return the id of a call with the thoughts in it, unless they are too long for any id."""
    return ident if sum(len(thought.text) for thought in thoughts) > _MAX_CARRIED else packed(ident, thoughts)


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


class _Envelope:
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

    def finished(self, items: Iterable[bytes], usage: Usage, why_incomplete: str | None) -> bytes:
        """Return the object with all that is in it."""
        counted = encoded(written_usage(usage))
        if why_incomplete is None:
            return self._with(b'"completed"', b"null", b",".join(items), counted)
        return self._with(b'"incomplete"', encoded({"reason": why_incomplete}), b",".join(items), counted)

    def _with(self, status: bytes, why: bytes, items: bytes, usage: bytes) -> bytes:
        return b'%b,"status":%b,"incomplete_details":%b,"output":[%b],"usage":%b%b' % (
            *(self._head, status, why, items, usage, self._tail),
        )


# A stream, written.


class _Numbered:
    """Writes events, each with its number."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = 0

    def event(self, name: bytes, members: bytes) -> bytes:
        """Return the event with these members of its object."""
        number = self.next
        self.next = number + 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, number, members)


class _Open:
    """An item that is open in the client's stream: its place in the answer, and what has been written of it."""

    __slots__ = ("ident", "index", "pieces", "place")

    def __init__(self, ident: str, index: int) -> None:
        self.ident = ident
        self.index = index
        self.place = b'"item_id":%b,"output_index":%d' % (encoded(ident), index)
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self.pieces)


class _OpenCall(_Open):
    """A call of a tool."""

    __slots__ = ("call_id", "name")

    def __init__(self, ident: str, index: int, call_id: str, name: str) -> None:
        super().__init__(ident, index)
        self.call_id = call_id
        self.name = name

    def item(self, status: str) -> bytes:
        """Return the item as it is now."""
        return encoded(_function_call(self.ident, status, ToolCall(self.call_id, self.name, self.text)))


class _OpenMessage(_Open):
    """A message: its parts that are over, and the one that is being written, of words or of refusing words."""

    __slots__ = ("citations", "closed", "logprobs", "refuses", "where")

    def __init__(self, ident: str, index: int) -> None:
        super().__init__(ident, index)
        self.closed: list[Json] = []
        self.begin(refuses=False)

    def begin(self, *, refuses: bool) -> None:
        """Begin the next part."""
        self.refuses = refuses
        self.where = b'%b,"content_index":%d' % (self.place, len(self.closed))
        self.pieces = []
        self.citations: list[Citation] = []
        self.logprobs: list[Json] = []

    def part(self) -> dict[str, Json]:
        """Return the part as it is now."""
        if self.refuses:
            return written_words(Refusal(self.text))
        return {**written_words(Text(self.text, tuple(self.citations))), "logprobs": self.logprobs}


class ResponsesWriter:
    """Writes a client's stream."""

    __slots__ = (
        *("_calls", "_elsewhere", "_envelope", "_finished", "_frame", "_held", "_items", "_message", "_numbered"),
        *("_refused", "_thought", "_thoughts", "_usage"),
    )

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._numbered = _Numbered()
        self._envelope = _Envelope(frame, "", "")
        self._items: list[bytes] = []
        """The items by their places, each empty until it is closed."""
        self._message: _OpenMessage | None = None
        self._thought: _Open | None = None
        self._calls: dict[int, _OpenCall] = {}
        """The open calls by the reader's index."""
        self._thoughts: list[Thinking] = []
        """Those that no call carries yet."""
        self._held = 0
        self._refused = False
        self._elsewhere = False
        """What is told is of another candidate than the first, which is the only one here."""
        self._finished: Finished | None = None
        self._usage = NO_USAGE

    @property
    def sequence(self) -> int:
        """The number of the next event."""
        return self._numbered.next

    def write(self, event: Event) -> bytes:
        """Return the bytes that say it. Raises AnswerFailed: the answer is larger than an event may be."""
        match event:
            case TextDelta(text) if not self._elsewhere:
                return self._add_words(text, refuses=False)
            case Counted(usage):
                self._usage = usage
                return b""
            case Started(ident, model):
                return self._start(ident, model)
            case CandidateSwitched(index):
                self._elsewhere = index != 0
                return b""
            case Ended():
                return self._end()
            case _:
                return b"" if self._elsewhere else self._content(event)

    def _content(self, event: Event) -> bytes:
        match event:
            case ToolDelta(index, fragment):
                return self._arguments(index, fragment)
            case ThinkingDelta(text):
                return self._add_thought(text)
            case ThinkingSigned():
                return self._sign(event)
            case ToolStarted(index, ident, name):
                return self._begin_call(index, ident, name)
            case ToolEnded(index):
                return self._close_call(index, "completed")
            case RefusalDelta(text):
                self._refused = True
                return self._add_words(text, refuses=True)
            case Cited(citation):
                return self._cite(citation)
            case LogprobsDelta(tokens):
                return self._weigh(tokens)
            case Finished():
                return self._finish(event)
            case _:
                return b""

    def _start(self, ident: str, model: str) -> bytes:
        self._envelope = _Envelope(self._frame, ident, model)
        response = b'"response":' + self._envelope.unfinished()
        event = self._numbered.event
        return event(b"response.created", response) + event(b"response.in_progress", response)

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._frame.max_bytes:
            raise AnswerFailed(broken_answer("The provider's answer is too large to be repeated at its end."))

    # Items are opened and closed...

    def _next(self, prefix: str) -> tuple[str, int]:
        """Return the id and the place of the next item."""
        index = len(self._items)
        self._items.append(b"")
        return f"{prefix}_{self._envelope.stem}_{index}", index

    def _added(self, index: int, item: bytes) -> bytes:
        self._hold(len(item))
        return self._numbered.event(b"response.output_item.added", b'"output_index":%d,"item":%b' % (index, item))

    def _done(self, index: int, item: bytes) -> bytes:
        self._items[index] = item
        return self._numbered.event(b"response.output_item.done", b'"output_index":%d,"item":%b' % (index, item))

    def _close(self, status: str = "completed") -> bytes:
        """Close the message or the thought that is being told."""
        return self._close_thought(ThinkingSigned()) if self._message is None else self._close_message(status)

    # ...messages...

    def _add_words(self, text: str, *, refuses: bool) -> bytes:
        message, opening = self._message, b""
        if message is None or message.refuses is not refuses:
            opening, message = self._open_words(refuses=refuses)
        message.pieces.append(text)
        self._hold(len(text))
        if refuses:
            return opening + self._numbered.event(_REFUSAL_DELTA, message.where + b',"delta":' + encoded(text))
        return opening + self._numbered.event(_TEXT_DELTA, message.where + b',"logprobs":[],"delta":' + encoded(text))

    def _open_words(self, *, refuses: bool) -> tuple[bytes, _OpenMessage]:
        message = self._message
        if message is None:
            opening = self._close()
            message = self._message = _OpenMessage(*self._next("msg"))
            item = encoded(_message(message.ident, "in_progress", []))
            opening += self._added(message.index, item)
        else:
            opening = self._close_part(message)
        message.begin(refuses=refuses)
        part = message.where + b',"part":' + encoded(message.part())
        return opening + self._numbered.event(b"response.content_part.added", part), message

    def _close_part(self, message: _OpenMessage) -> bytes:
        part, where, event = message.part(), message.where, self._numbered.event
        message.closed.append(part)
        if message.refuses:
            done = event(b"response.refusal.done", where + b',"refusal":' + encoded(part["refusal"]))
        else:
            told = {"text": part["text"], "logprobs": message.logprobs}
            done = event(b"response.output_text.done", where + b"," + encoded(told)[1:-1])
        return done + event(b"response.content_part.done", where + b',"part":' + encoded(part))

    def _close_message(self, status: str) -> bytes:
        message = self._message
        if message is None:
            return b""
        self._message = None
        done = self._close_part(message)
        return done + self._done(message.index, encoded(_message(message.ident, status, message.closed)))

    def _cite(self, citation: Citation) -> bytes:
        """Say where the words come from. Only what has an address can be named, and only to words that go on."""
        message = self._message
        if message is None or message.refuses or not citation.url:
            return b""
        at = len(message.citations)
        message.citations.append(citation)
        note = encoded(written_citation(citation))
        self._hold(len(note))
        members = b'%b,"annotation_index":%d,"annotation":%b' % (message.where, at, note)
        return self._numbered.event(b"response.output_text.annotation.added", members)

    def _weigh(self, tokens: tuple[TokenLogprob, ...]) -> bytes:
        """Say how likely the words were: they have left, so an event without any says it."""
        message = self._message
        if message is None or message.refuses:
            return b""
        told = written_tokens(tokens)
        message.logprobs += told
        written = encoded(told)
        self._hold(len(written))
        return self._numbered.event(_TEXT_DELTA, message.where + b',"logprobs":' + written + b',"delta":""')

    # ...thoughts...

    def _add_thought(self, text: str) -> bytes:
        thought, opening = self._thought, b""
        if thought is None:
            opening, thought = self._open_thought()
        thought.pieces.append(text)
        self._hold(len(text))
        if len(thought.pieces) == 1:
            part = thought.place + b',"summary_index":0,"part":{"type":"summary_text","text":""}'
            opening += self._numbered.event(b"response.reasoning_summary_part.added", part)
        delta = thought.place + b',"summary_index":0,"delta":' + encoded(text)
        return opening + self._numbered.event(b"response.reasoning_summary_text.delta", delta)

    def _open_thought(self) -> tuple[bytes, _Open]:
        closing = self._close()
        thought = self._thought = _Open(*self._next("rs"))
        return closing + self._added(thought.index, encoded(_reasoning(thought.ident, Thinking()))), thought

    def _sign(self, signed: ThinkingSigned) -> bytes:
        opening = b"" if self._thought else self._open_thought()[0]
        self._hold(len(signed.signature) + len(signed.hidden))
        return opening + self._close_thought(signed)

    def _close_thought(self, signed: ThinkingSigned) -> bytes:
        thought = self._thought
        if thought is None:
            return b""
        self._thought = None
        told = Thinking(thought.text, signed.signature, signed.hidden, signed.origin)
        self._thoughts.append(told)
        done, event = b"", self._numbered.event
        if thought.pieces:
            place, text = thought.place + b',"summary_index":0,', encoded(told.text)
            done = event(b"response.reasoning_summary_text.done", place + b'"text":' + text)
            part = place + b'"part":{"type":"summary_text","text":' + text + b"}"
            done += event(b"response.reasoning_summary_part.done", part)
        return done + self._done(thought.index, encoded(_reasoning(thought.ident, told)))

    # ...and calls.

    def _begin_call(self, index: int, ident: str, name: str) -> bytes:
        closing = self._close() + self._close_call(index, "completed")
        thoughts, self._thoughts = self._thoughts, []
        call = self._calls[index] = _OpenCall(*self._next("fc"), _carrying(ident, thoughts), name)
        return closing + self._added(call.index, call.item("in_progress"))

    def _arguments(self, index: int, fragment: str) -> bytes:
        call = self._calls.get(index)
        if call is None:
            raise AnswerFailed(broken_answer("The provider added to a tool call that it had not begun."))
        call.pieces.append(fragment)
        self._hold(len(fragment))
        return self._numbered.event(_ARGUMENTS_DELTA, call.place + b',"delta":' + encoded(fragment))

    def _close_call(self, index: int, status: str) -> bytes:
        """Close a call; one without arguments has an empty object."""
        call = self._calls.get(index)
        if call is None:
            return b""
        written = b"" if call.pieces else self._arguments(index, "{}")
        del self._calls[index]
        done = call.place + b',"arguments":' + encoded(call.text)
        written += self._numbered.event(b"response.function_call_arguments.done", done)
        return written + self._done(call.index, call.item(status))

    # The end.

    def _finish(self, finished: Finished) -> bytes:
        self._finished = finished
        incomplete = _incomplete(finished.reason, refused=self._refused)
        return self._close_all("completed" if incomplete is None else "incomplete")

    def _close_all(self, status: str) -> bytes:
        """Close what is open; in an answer that is not whole, that is what broke off."""
        return self._close(status) + b"".join([self._close_call(index, status) for index in tuple(self._calls)])

    def _end(self) -> bytes:
        rest = self._close_all("completed")
        reason = "stop" if self._finished is None else self._finished.reason
        incomplete = _incomplete(reason, refused=self._refused)
        response = b'"response":' + self._envelope.finished(self._items, self._usage, incomplete)
        name = b"response.completed" if incomplete is None else b"response.incomplete"
        return rest + self._numbered.event(name, response)


_TEXT_DELTA: Final = b"response.output_text.delta"
_REFUSAL_DELTA: Final = b"response.refusal.delta"
_ARGUMENTS_DELTA: Final = b"response.function_call_arguments.delta"


# A whole answer, written.


def write_responses_reply(reply: Reply, frame: Frame) -> bytes:
    """Return the body for the client."""
    envelope = _Envelope(frame, reply.id, reply.model)
    refused = any(isinstance(part, Refusal) for part in reply.first.parts)
    incomplete = _incomplete(reply.first.reason, refused=refused)
    items = [encoded(item) for item in _items(reply, envelope.stem)]
    return envelope.finished(items, reply.usage or NO_USAGE, incomplete)


def _items(reply: Reply, stem: str) -> Iterator[Json]:
    logprobs = written_tokens(reply.first.logprobs)
    thoughts: list[Thinking] = []
    for index, parts in enumerate(_grouped(reply.first.parts)):
        first = parts[0]
        if isinstance(first, Thinking):
            thoughts.append(first)
            yield _reasoning(f"rs_{stem}_{index}", first)
        elif isinstance(first, ToolCall):
            call = ToolCall(_carrying(first.id, thoughts), first.name, first.arguments or "{}")
            thoughts = []
            yield _function_call(f"fc_{stem}_{index}", "completed", call)
        else:
            yield _message(f"msg_{stem}_{index}", "completed", list(_content(parts, logprobs)))
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
