"""`/chat/completions` and `/completions`, from an OpenAI-like provider to an OpenAI client: bytes pass, meaning is watched.

Whole events go on unchanged. Until the first content each event is decoded, for an opening event does not bind the
relay to this attempt. After it a block of events is decoded only if something in it may matter, which a few searches
over the whole block tell: every event must be one line `data: {...}`, no event may hold the key `error`, and every
`finish_reason` and `usage` must be null. Inside a JSON string a quote is escaped, so no text that a model writes can
hold `"usage":`; a search that hits by accident costs a decode and changes nothing. What is thereby not looked at is
JSON inside the braces of such a line that is broken: it reaches the client as it would from the provider.

A stream is complete with `[DONE]`, or if it ends cleanly after a finish_reason for every choice that was asked for; then
the `[DONE]` that was left out is added.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs
import msgspec

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded, member_span, with_member
from adaptors.sse import ServerEvent, SSEParser
from adaptors.values import Call, Usage
from adaptors.wires.openai_errors import broken_answer, error_inside
from adaptors.wires.openai_json import read_document, renamed, text
from adaptors.wires.openai_stream import decoded_event, incomplete, last_event, passed_over, whole_events, with_data
from adaptors.wires.openai_usage import read_usage

DONE: Final = b"data: [DONE]\n\n"

_MAX_CHOICES: Final = 1024
"""How many choices are kept account of: OpenAI allows n up to 128, a legacy call one for each of its prompts."""

_SEAM: Final = b"\n\n"

_SILENT_IN_CHOICE: Final = frozenset(
    {"index", "delta", "finish_reason", "native_finish_reason", "content_filter_results", "content_filter_offsets"}
)


@attrs.frozen
class Framing:
    """One way in which providers write a block of events of one line each."""

    head: bytes
    seam: bytes
    tail: bytes
    newlines: int
    """Line feeds that each event takes."""


# With and without the space after the colon; with LF and with CRLF.
FRAMINGS: Final = (
    Framing(b"data: {", b"}\n\ndata: {", b"}\n\n", 2),
    Framing(b"data:{", b"}\n\ndata:{", b"}\n\n", 2),
    Framing(b"data: {", b"}\r\n\r\ndata: {", b"}\r\n\r\n", 2),
    Framing(b"data:{", b"}\r\n\r\ndata:{", b"}\r\n\r\n", 2),
)


def plain_events(block: bytes) -> int:
    """Return how many events the block holds, if each is one line `data: {...}`; else 0.

    Proof by counting: n seams part n + 1 events, and if they take all the line feeds there are, no other line exists. A
    carriage return may stand nowhere but in the seams, for it ends a line too.
    """
    for framing in FRAMINGS:
        if block.startswith(framing.head) and block.endswith(framing.tail):
            events = block.count(framing.seam) + 1
            carriage_returns = 2 * events if b"\r" in framing.tail else 0
            if block.count(b"\n") == framing.newlines * events and block.count(b"\r") == carriage_returns:
                return events
    return 0


class NullKeys:
    """Tells whether `finish_reason` and `usage` are null (or empty, as some write null) all over a block.

    A provider writes them one way throughout a stream: `"finish_reason":null}],"usage":null`. That way is learnt from
    the events that are decoded, and one search for it replaces several.
    """

    __slots__ = ("_together",)

    def __init__(self) -> None:
        self._together = b""

    def learn(self, raw: bytes) -> None:
        """Learn how the nulls stand in this event."""
        found = _NULLS_TOGETHER.search(raw)
        self._together = found[0] if found else b""

    def fill(self, block: bytes, events: int) -> bool:
        """Whether all is null in a block of so many events."""
        if self._together and block.count(self._together) == events:
            # One each. It errs where one event holds two choices that go on and another one that ends: that end is
            # missed, and only a [DONE] then proves the stream, which is the safe side.
            return b"usage" in self._together or b'"usage"' not in block
        return _all_null(block, b'"finish_reason"') and _all_null(block, b'"usage"')


_NULLS_TOGETHER = re.compile(rb'"finish_reason": ?(?:null|"")(?:.{0,80}?"usage": ?null)?')
_NULLS = (b":null", b": null", b':""', b': ""')


def _all_null(block: bytes, key: bytes) -> bool:
    found = block.count(key)
    return not found or any(block.count(key + null) == found for null in _NULLS)


@attrs.frozen
class Renaming:
    """Puts the client's name of the model where the provider's stands at the top level of each event.

    `provider` is the member as the provider writes it, white space included: `"model":"gpt-4o-2024-08-06"`. It is learnt
    from the events that are decoded.
    """

    client: bytes
    provider: bytes = b""

    def learnt(self, data: bytes) -> Renaming:
        """Return the renaming for a stream whose events look like this one."""
        span = member_span(data, "model")
        key = -1 if span is None else data.rfind(b'"model"', 0, span[0])
        if span is None or key < 0 or data[key + len(b'"model"') : span[0]].strip() != b":":
            return self  # no model, or a key that is spelt with escapes
        return attrs.evolve(self, provider=data[key : span[1]])

    def fits(self, block: bytes, events: int) -> bool:
        """Whether there are as many models as events, all of them written exactly as was learnt.

        A model of the same name that stands deeper in one event, while another event has none, is taken for it: then
        the provider's name is hidden there too.
        """
        return block.count(b'"model"') == events == block.count(self.provider)

    def applied(self, block: bytes) -> bytes:
        """Return the block renamed; it must fit."""
        start = self.provider[: self.provider.index(b'"', len(b'"model"'))]
        return block.replace(self.provider, start + self.client)


class ChatAnswer:
    """Reads one answer to a chat or legacy completion, streamed or whole. A state machine for one attempt."""

    __slots__ = (
        "_choices",
        "_finished",
        "_hides_usage",
        "_keeps_id",
        "_nulls",
        "_parser",
        "_renaming",
        "complete",
        "content_seen",
        "sequence",
        "stored_id",
        "usage",
    )

    def __init__(self, call: Call, *, model: str | None, hides_usage: bool, max_event_bytes: int) -> None:
        """Make a reader.

        `model` is the client's name of the model where it is not the provider's, else None. `hides_usage`: the usage
        chunk was asked for by the relay alone, so it is kept from the client.
        """
        self._choices = choices_asked_for(call) if call.stream else 1
        self._renaming = None if model is None else Renaming(encoded(model))
        self._hides_usage = hides_usage
        self._keeps_id = may_be_stored(call)
        self._parser = SSEParser(max_event_bytes)
        self._nulls = NullKeys()
        self._finished: set[int] = set()
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None
        self.sequence = 0

    # A stream, block by block...

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the whole events among these bytes. Raises AnswerFailed: an error event, garbage, one too large."""
        if self.complete:
            return  # what follows [DONE] is not part of the answer
        block = whole_events(self._parser, data)
        if self.content_seen and self._may_pass(block):
            yield block if self._renaming is None else self._renaming.applied(block)
            return
        for part in self._parts(block):
            if self.content_seen and self._may_pass(part):
                yield part if self._renaming is None else self._renaming.applied(part)
            else:
                yield from self._watched(part)
            if self.complete:
                return

    def _parts(self, block: bytes) -> Iterator[bytes]:
        """Yield the block in parts that are treated alike: openings one by one, then what may pass, then the end.

        A provider that answers in a burst sends opening, content and end in one block, and most of it is content.
        """
        if b"\r" in block:
            yield block
            return
        start = 0
        while not self.content_seen and (end := block.find(_SEAM, start)) >= 0:
            yield block[start : end + len(_SEAM)]
            start = end + len(_SEAM)
        end = _third_last(block) if block.endswith(DONE) else len(block)
        if start < end:
            yield block[start:end]
        if max(start, end) < len(block):
            yield block[max(start, end) :]

    def _may_pass(self, block: bytes) -> bool:
        """Whether nothing in the block matters to anybody but the client."""
        events = plain_events(block)
        return (
            events > 0
            and b'"error"' not in block
            and self._nulls.fill(block, events)
            and (self._renaming is None or self._renaming.fits(block, events))
        )

    # ...event by event, where something may matter...

    def _watched(self, block: bytes) -> Iterator[bytes]:
        for event in self._parser.events(block):
            if event.data is None:
                yield passed_over(event)
            elif event.data == b"[DONE]":
                self.content_seen = self.complete = True
                yield event.raw
                return
            elif passed := self._chunk(event, event.data):
                yield passed

    def _chunk(self, event: ServerEvent, data: bytes) -> bytes:
        chunk = decoded_event(event, data)
        choices = _choices(chunk)
        self._nulls.learn(event.raw)
        self._note_ends(choices)
        usage = read_usage(chunk.get("usage"))
        self.usage = usage or self.usage
        if usage is not None and not choices and self._hides_usage:
            return b""
        self.content_seen = self.content_seen or any(map(_says_something, choices))
        if self.stored_id is None and self._keeps_id:
            self.stored_id = text(chunk.get("id"))
        return event.raw if self._renaming is None else self._renamed(event, data, chunk)

    def _note_ends(self, choices: list[Json]) -> None:
        for choice in choices:
            index = choice.get("index", 0)
            if choice.get("finish_reason") and type(index) is int and 0 <= index < _MAX_CHOICES:
                self._finished.add(index)

    def _renamed(self, event: ServerEvent, data: bytes, chunk: Json) -> bytes:
        if self._renaming is None or not isinstance(chunk.get("model"), str):
            return event.raw
        try:
            self._renaming = self._renaming.learnt(data)
            return with_data(event, with_member(data, "model", self._renaming.client))
        except NotJSON as error:
            raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error

    # ...and its end.

    def end(self) -> Iterator[bytes]:
        """Yield the `[DONE]` that a provider left out. Raises AnswerFailed unless the stream is complete."""
        if self.complete:
            return
        yield from self._watched(last_event(self._parser.rest))
        if self.complete:
            return
        if len(self._finished) < self._choices:
            raise incomplete()
        self.content_seen = self.complete = True
        yield DONE

    # Or the answer in one piece.

    def whole(self, body: bytes) -> bytes:
        """Return the body, the model renamed. Raises AnswerFailed: no completion, or an error inside a 200."""
        document = read_document(body)
        if not (document.choices or document.request_id):  # xAI answers a deferred completion with a request_id
            raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no completion."))
        _refuse_failed_choice(document.choices)
        self.usage = read_usage(document.usage)
        self.stored_id = text(document.id) if self._keeps_id else None
        if not document.choices:
            self.stored_id = text(document.request_id)
        self.content_seen = self.complete = True
        return renamed(body, document, self._client_model())

    def _client_model(self) -> str | None:
        return None if self._renaming is None else str(decoded(self._renaming.client))


def _refuse_failed_choice(choices: msgspec.Raw) -> None:
    """Raise AnswerFailed, if a choice holds an error: OpenRouter tells so that a model has failed on its way."""
    raw = bytes(choices)
    if b'"error"' not in raw:
        return
    for choice in _choices({"choices": decoded(raw)}):
        failure = error_inside(choice, encoded({"error": choice.get("error")}))
        if failure is not None:
            raise AnswerFailed(failure)


def _third_last(block: bytes) -> int:
    """Return where the last three events begin: the finish reason, the usage, `[DONE]`."""
    end = len(block) - len(_SEAM)
    for _ in range(3):
        end = block.rfind(_SEAM, 0, max(end, 0))
    return end + len(_SEAM) if end >= 0 else 0


def _choices(chunk: dict[str, Json]) -> list[dict[str, Json]]:
    choices = chunk.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _says_something(choice: dict[str, Json]) -> bool:
    """Whether this is more than an opening: in doubt it is, for what a client has seen cannot be taken back."""
    if choice.get("finish_reason"):
        return True
    delta = choice.get("delta")
    if isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role"):
        return True
    return any(value for name, value in choice.items() if name not in _SILENT_IN_CHOICE)


def may_be_stored(call: Call) -> bool:
    """Whether the client may have asked to store the answer. A false yes costs a place in a bounded map."""
    return call.body is not None and b'"store"' in call.body


def choices_asked_for(call: Call) -> int:
    """Return how many choices the answer must have: `n` for each prompt. Names are written without escapes by every encoder."""
    body = call.body or b"{}"
    if b'"n"' not in body and b'"prompt"' not in body:
        return 1
    try:
        request = decoded(body)
    except NotJSON:
        return 1
    if not isinstance(request, dict):
        return 1
    n = request.get("n")
    return _prompts(request.get("prompt")) * (n if type(n) is int and n > 0 else 1)


def _prompts(prompt: Json) -> int:
    """Return how many prompts a legacy completion has: a list holds several, unless it is one prompt in tokens."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1
