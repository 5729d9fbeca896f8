"""Streams of `/responses`, written (https://platform.openai.com/docs/api-reference/responses-streaming).

Every event has a number. An answer is a list of items, each opened, filled and closed by events of its own; several may be
open at once, so calls of tools that a provider writes at the same time keep their places. The last event repeats all items,
so what was written is kept, within the limit of one event.
"""

from __future__ import annotations

from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, encoded
from adaptors.translation.conversation import (
    CandidateSwitched,
    Citation,
    Cited,
    Counted,
    Ended,
    Event,
    Finished,
    LogprobsDelta,
    Refusal,
    RefusalDelta,
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
from adaptors.translation.frame import NO_USAGE, Frame
from adaptors.translation.logprobs import written_tokens
from adaptors.translation.responses_answer import (
    Envelope,
    call_item,
    carrying,
    message_item,
    reasoning_item,
    why_incomplete,
)
from adaptors.translation.responses_content import written_citation, written_words
from adaptors.wires.openai_errors import broken_answer

_TEXT_DELTA: Final = b"response.output_text.delta"
_REFUSAL_DELTA: Final = b"response.refusal.delta"
_ARGUMENTS_DELTA: Final = b"response.function_call_arguments.delta"


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

    __slots__ = ("ident", "index", "place", "told")

    def __init__(self, ident: str, index: int) -> None:
        self.ident = ident
        self.index = index
        self.place = b'"item_id":%b,"output_index":%d' % (encoded(ident), index)
        self.told = bytearray()
        """In UTF-8: a list of fragments would take many times their length."""

    def add(self, text: str) -> None:
        """Note what is being written."""
        self.told += text.encode("utf-8", "surrogatepass")

    @property
    def text(self) -> str:
        """What has been written."""
        return self.told.decode("utf-8", "surrogatepass")


class _OpenCall(_Open):
    """A call of a tool."""

    __slots__ = ("call_id", "name")

    def __init__(self, ident: str, index: int, call_id: str, name: str) -> None:
        super().__init__(ident, index)
        self.call_id = call_id
        self.name = name

    def item(self, status: str) -> bytes:
        """Return the item as it is now."""
        return encoded(call_item(self.ident, status, ToolCall(self.call_id, self.name, self.text)))


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
        self.told = bytearray()
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
        self._envelope = Envelope(frame, "", "")
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
        self._envelope = Envelope(self._frame, ident, model)
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
        message.add(text)
        self._hold(len(text))
        if refuses:
            return opening + self._numbered.event(_REFUSAL_DELTA, message.where + b',"delta":' + encoded(text))
        return opening + self._numbered.event(_TEXT_DELTA, message.where + b',"logprobs":[],"delta":' + encoded(text))

    def _open_words(self, *, refuses: bool) -> tuple[bytes, _OpenMessage]:
        message = self._message
        if message is None:
            opening = self._close()
            message = self._message = _OpenMessage(*self._next("msg"))
            item = encoded(message_item(message.ident, "in_progress", []))
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
        return done + self._done(message.index, encoded(message_item(message.ident, status, message.closed)))

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
        if not thought.told:
            part = thought.place + b',"summary_index":0,"part":{"type":"summary_text","text":""}'
            opening += self._numbered.event(b"response.reasoning_summary_part.added", part)
        thought.add(text)
        self._hold(len(text))
        delta = thought.place + b',"summary_index":0,"delta":' + encoded(text)
        return opening + self._numbered.event(b"response.reasoning_summary_text.delta", delta)

    def _open_thought(self) -> tuple[bytes, _Open]:
        closing = self._close()
        thought = self._thought = _Open(*self._next("rs"))
        return closing + self._added(thought.index, encoded(reasoning_item(thought.ident, Thinking()))), thought

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
        if thought.told:
            place, text = thought.place + b',"summary_index":0,', encoded(told.text)
            done = event(b"response.reasoning_summary_text.done", place + b'"text":' + text)
            part = place + b'"part":{"type":"summary_text","text":' + text + b"}"
            done += event(b"response.reasoning_summary_part.done", part)
        return done + self._done(thought.index, encoded(reasoning_item(thought.ident, told)))

    # ...and calls.

    def _begin_call(self, index: int, ident: str, name: str) -> bytes:
        closing = self._close() + self._close_call(index, "completed")
        thoughts, self._thoughts = self._thoughts, []
        call = self._calls[index] = _OpenCall(*self._next("fc"), carrying(ident, thoughts), name)
        return closing + self._added(call.index, call.item("in_progress"))

    def _arguments(self, index: int, fragment: str) -> bytes:
        call = self._calls.get(index)
        if call is None:
            raise AnswerFailed(broken_answer("The provider added to a tool call that it had not begun."))
        call.add(fragment)
        self._hold(len(fragment))
        return self._numbered.event(_ARGUMENTS_DELTA, call.place + b',"delta":' + encoded(fragment))

    def _close_call(self, index: int, status: str) -> bytes:
        """Close a call; one without arguments has an empty object."""
        call = self._calls.get(index)
        if call is None:
            return b""
        written = b"" if call.told else self._arguments(index, "{}")
        del self._calls[index]
        done = call.place + b',"arguments":' + encoded(call.text)
        written += self._numbered.event(b"response.function_call_arguments.done", done)
        return written + self._done(call.index, call.item(status))

    # The end.

    def _finish(self, finished: Finished) -> bytes:
        self._finished = finished
        incomplete = why_incomplete(finished.reason, refused=self._refused)
        return self._close_all("completed" if incomplete is None else "incomplete")

    def _close_all(self, status: str) -> bytes:
        """Close what is open; in an answer that is not whole, that is what broke off."""
        return self._close(status) + b"".join([self._close_call(index, status) for index in tuple(self._calls)])

    def _end(self) -> bytes:
        rest = self._close_all("completed")
        reason = "stop" if self._finished is None else self._finished.reason
        incomplete = why_incomplete(reason, refused=self._refused)
        response = b'"response":' + self._envelope.finished(self._items, self._usage, incomplete)
        name = b"response.completed" if incomplete is None else b"response.incomplete"
        return rest + self._numbered.event(name, response)
