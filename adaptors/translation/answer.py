"""An answer of one wire for a client of another: read into events, each written at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from adaptors.gemini_paths import GENERATE, asks_for_events
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.sse import ServerEvent, SSEParser
from adaptors.translation.conversation import CandidateSwitched, Counted, Ended, Event, Reply, Started
from adaptors.translation.formats import FORMATS
from adaptors.translation.frame import Frame, StreamReader
from adaptors.values import Call, Headers, Usage
from adaptors.wires.openai_stream import last_event, whole_events

_SILENT: Final = (Started, Counted, CandidateSwitched)
"""Events after which another attempt may still follow."""


@attrs.frozen
class ProviderFormat:
    """How the answers of a provider are read whose format no client speaks."""

    reader: Callable[[Frame], StreamReader]
    """Returns a fresh reader for one stream of events."""
    read_reply: Callable[[bytes], Reply]
    """Raises AnswerFailed: it is no such answer, or an error inside a 200."""


class TranslatedAnswer:
    """Reads one answer of a provider and writes the client's. A state machine for one attempt."""

    __slots__ = (
        "_client",
        "_frame",
        "_parser",
        "_provider",
        "_reader",
        "_writer",
        "complete",
        "content_seen",
        "stored_id",
        "usage",
    )

    def __init__(self, provider: str | ProviderFormat, client: str, frame: Frame) -> None:
        """Make a reader; `client` names its wire, and so may `provider`."""
        self._provider = FORMATS[provider] if isinstance(provider, str) else provider
        self._client = FORMATS[client]
        self._frame = frame
        self._parser = SSEParser(frame.max_bytes)
        self._reader = self._provider.reader(frame)
        self._writer = self._client.writer(frame)
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None

    @property
    def sequence(self) -> int:
        """The number that the client's next event would carry."""
        return self._writer.sequence

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes say to the client. Raises AnswerFailed: an error event, garbage, one too large."""
        if self.complete:
            return
        yield from self._translated(self._parser.events(whole_events(self._parser, data)))

    def end(self) -> Iterator[bytes]:
        """Yield what is still owed to the client. Raises AnswerFailed unless the stream is complete."""
        if self.complete:
            return
        yield from self._translated(self._parser.events(last_event(self._parser.rest)))
        if not self.complete:
            yield from self._written(self._reader.end())

    def _translated(self, events: list[ServerEvent]) -> Iterator[bytes]:
        for event in events:
            yield from self._written(self._reader.read(event))
            if self.complete:
                return

    def _written(self, events: list[Event]) -> Iterator[bytes]:
        for event in events:
            written = self._writer.write(event)
            self._note(event)
            if written:
                yield written

    def _note(self, event: Event) -> None:
        if isinstance(event, Counted):
            self.usage = event.usage
        elif isinstance(event, Ended):
            self.complete = True
        if not isinstance(event, _SILENT):
            self.content_seen = True

    def whole(self, body: bytes) -> bytes:
        """Return the client's body. Raises AnswerFailed: it is no answer, or an error inside a 200."""
        reply = self._provider.read_reply(body)
        self.usage = reply.usage
        self.content_seen = self.complete = True
        return self._client.write_reply(reply, self._frame)


# The request side.

_OUR_HEADERS: Final[Headers] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"identity"),
)


def translated_headers(call: Call) -> Headers:
    """Return the headers for another provider than the client thinks of: of the client's own only who it is."""
    return tuple(header for header in call.headers if header[0] == b"user-agent") + _OUR_HEADERS


def frame_of(call: Call, upstream_model: str | None, max_bytes: int) -> Frame:
    """Return what the writer of the answer to this call must know."""
    return Frame(
        max_bytes=max_bytes,
        model=call.model if upstream_model not in {None, call.model} else None,
        created=call.created,
        include_usage=call.include_usage,
        input_estimate=_estimate(call.body) if call.endpoint.wire == "anthropic_messages" else 0,
        echo=FORMATS[call.endpoint.wire or ""].echo(call),
        candidates=FORMATS[call.endpoint.wire or ""].candidates(call),
        array=call.endpoint.wire == GENERATE and call.stream and not asks_for_events(call.query),
    )


_CHARACTERS_PER_TOKEN: Final = 4
"""OpenAI's rule of thumb for English (https://platform.openai.com/tokenizer)."""
_NO_WORDS: Final = frozenset({"data", "url", "signature", "media_type", "type"})


def _estimate(body: bytes | None) -> int:
    """Return about how many tokens a request has: a fourth of its letters, pictures left out."""
    try:
        return _letters(decoded(body or b"{}")) // _CHARACTERS_PER_TOKEN
    except NotJSON:
        return 0


def _letters(value: Json) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_letters, value))
    if isinstance(value, dict):
        return sum(_letters(item) for name, item in value.items() if name not in _NO_WORDS)
    return 0
